// What is known about one token.
import { make, visible } from "./dom.js";

const percent = (p) => (p >= 0.001 || p === 0 ? `${(100 * p).toFixed(1)} %` : "< 0.1 %");

function bar(share) {
  const filled = make("span");
  filled.style.width = `${100 * Math.min(Math.max(share, 0), 1)}%`;
  return make("span", { className: "bar", ariaHidden: "true" }, filled);
}

function table(caption, head, rows) {
  const t = make("table", {}, make("caption", {}, caption));
  t.append(make("thead", {}, make("tr", {}, ...head.map((h) => make("th", { scope: "col" }, h)))));
  const body = make("tbody");
  for (const row of rows) {
    const cells = row.cells.map((c) => make("td", {}, c));
    body.append(make("tr", { className: row.chosen ? "chosen" : "" }, make("th", { scope: "row" }, row.name), ...cells));
  }
  t.append(body);
  return t;
}

/** Router scores as shares: expert-choice decides at each recursion, token-choice once among all of them. */
export function shares(scores, router) {
  if (router !== "token") return scores.map((s) => 1 / (1 + Math.exp(-s)));
  const most = Math.max(...scores);
  const powers = scores.map((s) => Math.exp(s - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / sum);
}

function scoreTable(token, router) {
  const share = shares(token.scores, router);
  const rows = token.scores.map((score, i) => ({
    name: `${i + 1}`,
    chosen: router === "token" ? i + 1 === token.depth : i < token.depth,
    cells: [score.toFixed(2), bar(share[i]), percent(share[i])],
  }));
  const note = router === "token" ? "Scores of the depths" : "Scores at the recursions; those taken are bold";
  return table(note, ["", "score", "", router === "token" ? "share" : "σ"], rows);
}

function alternativeTable(token) {
  const rows = token.alternatives.map((a) => ({
    name: make("code", {}, visible(a.name)),
    chosen: a.name === token.name,
    cells: [bar(Math.exp(a.logprob)), percent(Math.exp(a.logprob))],
  }));
  return table("Most probable tokens", ["token", "", ""], rows);
}

/** One line about a token, for the live region. */
export function summary(token, n) {
  const depth = token.depth === undefined ? "" : `, depth ${token.depth} of ${n}`;
  const p = token.logprob === undefined || token.logprob === null ? "" : `, probability ${percent(Math.exp(token.logprob))}`;
  return `${visible(token.text)}${depth}${p}`;
}

/** Fills an element with what is known about a token of a model of n recursions. */
export function show(element, token, n, router) {
  const parts = [make("p", { className: "shown" }, visible(token.text))];
  if (token.depth !== undefined) parts.push(make("p", {}, `Depth ${token.depth} of ${n}`));
  if (token.scores?.length) parts.push(scoreTable(token, router));
  if (token.alternatives?.length) parts.push(alternativeTable(token));
  element.replaceChildren(...parts);
}
