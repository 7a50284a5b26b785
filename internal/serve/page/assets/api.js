// The server's API, as far as the page uses it.
import { events } from "./stream.js";

/** What the server answered instead of what was asked for. */
export class RefusedError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function headers(key) {
  const h = { "Content-Type": "application/json" };
  if (key) h.Authorization = `Bearer ${key}`;
  return h;
}

async function refusal(response) {
  let message = "";
  try {
    message = (await response.json()).error.message;
  } catch {
    // No error in JSON: the status has to do.
  }
  message = message || `the server answered with status ${response.status}`;
  const wait = response.headers.get("Retry-After");
  if (wait) message += ` (try again in ${wait} s)`;
  return new RefusedError(response.status, message);
}

async function send(path, options) {
  let response;
  try {
    // Beside this page, and without a name and password that may stand in its own address: fetch refuses these.
    response = await fetch(new URL(path, location.origin + location.pathname), options);
  } catch (err) {
    if (err.name === "AbortError") throw err;
    throw new Error("the server cannot be reached");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

/** The model object of /v1/models. */
export async function model(key) {
  const list = await (await send("v1/models", { headers: headers(key) })).json();
  if (!list.data || list.data.length === 0) throw new Error("the server lists no model");
  return list.data[0];
}

/** The body of a request. settings come from the form; turns are those of a chat, the last of them the user's. */
export function requestOf(settings, turns) {
  const body = {
    model: settings.model,
    temperature: settings.temperature,
    stream: true,
    stream_options: { include_usage: true },
    return_depth: true,
  };
  if (settings.chat) {
    Object.assign(body, { messages: turns, max_completion_tokens: settings.maxTokens, logprobs: true, top_logprobs: 5 });
  } else {
    Object.assign(body, { prompt: turns[turns.length - 1].content, max_tokens: settings.maxTokens, logprobs: 5 });
  }
  if (settings.seed !== null) body.seed = settings.seed;
  if (settings.maxRecursion !== null) body.max_recursion = settings.maxRecursion;
  if (settings.threshold !== null) body.router_threshold = settings.threshold;
  return body;
}

/** Yields the pieces of an answer: {tokens}, then {finish}, then {usage}. */
export async function* answer(settings, turns, signal) {
  const path = settings.chat ? "v1/chat/completions" : "v1/completions";
  const body = JSON.stringify(requestOf(settings, turns));
  const response = await send(path, { method: "POST", headers: headers(settings.key), body, signal });
  for await (const event of events(response.body)) {
    if (event.error) throw new RefusedError(0, event.error.message);
    if (event.usage) yield { usage: event.usage };
    for (const choice of event.choices || []) {
      const tokens = tokensOf(choice);
      if (tokens.length > 0) yield { tokens };
      if (choice.finish_reason) yield { finish: choice.finish_reason };
    }
  }
}

/** The tokens of a choice: {text, depth, scores, logprob, alternatives}. What the server does not say is undefined. */
export function tokensOf(choice) {
  const text = choice.text ?? choice.delta?.content ?? "";
  const said = logprobsOf(choice.logprobs);
  const n = Math.max(choice.depth?.length ?? 0, said.length, text ? 1 : 0);
  const tokens = [];
  for (let i = 0; i < n; i++) {
    tokens.push({ text: "", depth: choice.depth?.[i], scores: choice.router_scores?.[i], ...said[i] });
  }
  const whole = said.map((t) => t.name).join("");
  if (said.length === n && whole === text) {
    for (const t of tokens) t.text = t.name;
  } else if (n > 0) {
    tokens[n - 1].text = text; // the tokens before it are parts of a character
  }
  return tokens;
}

/** Both forms of log probabilities in one: {name, logprob, alternatives: [{name, logprob}]}, the best first. */
function logprobsOf(logprobs) {
  if (!logprobs) return [];
  let list;
  if (logprobs.content) {
    list = logprobs.content.map((t) => ({
      name: t.token,
      logprob: t.logprob,
      alternatives: (t.top_logprobs || []).map((o) => ({ name: o.token, logprob: o.logprob })),
    }));
  } else {
    list = (logprobs.tokens || []).map((name, i) => ({
      name,
      logprob: logprobs.token_logprobs?.[i],
      alternatives: Object.entries(logprobs.top_logprobs?.[i] || {}).map(([other, p]) => ({ name: other, logprob: p })),
    }));
  }
  for (const t of list) t.alternatives.sort((a, b) => b.logprob - a.logprob);
  return list;
}
