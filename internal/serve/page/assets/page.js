// The page: settings, request, answer.
import { answer, model } from "./api.js";
import { byId } from "./dom.js";
import { paint } from "./depth.js";
import { show, summary } from "./detail.js";
import { Readings } from "./readings.js";
import { follow } from "./theme.js";
import { Transcript } from "./transcript.js";

class Page {
  constructor() {
    this.model = null;
    this.turns = []; // of the chat
    this.running = null; // AbortController of the answer under way
    this.theme = "light";
    this.readings = new Readings();
    this.transcript = new Transcript(byId("transcript"), (token, focused) => this.look(token, focused));
    follow((theme) => {
      this.theme = theme;
      this.paint();
    });
    this.listen();
    this.discover();
  }

  listen() {
    byId("composer").addEventListener("submit", (e) => {
      e.preventDefault();
      this.generate();
    });
    byId("settings").addEventListener("submit", (e) => e.preventDefault());
    byId("stop").addEventListener("click", () => this.running?.abort());
    byId("clear").addEventListener("click", () => this.clear());
    byId("key").addEventListener("change", () => this.discover());
    byId("max-recursion").addEventListener("input", () => this.labels());
    byId("threshold").addEventListener("input", () => {
      byId("threshold").dataset.set = "true";
      this.labels();
    });
    byId("threshold-reset").addEventListener("click", () => {
      delete byId("threshold").dataset.set;
      this.labels();
    });
    byId("numbers").addEventListener("change", (e) => byId("transcript").classList.toggle("numbered", e.target.checked));
    for (const radio of document.querySelectorAll('input[name="mode"]')) radio.addEventListener("change", () => this.clear());
    document.addEventListener("keydown", (e) => {
      if (e.key === "Escape") this.running?.abort();
      if (e.key === "Enter" && (e.ctrlKey || e.metaKey) && e.target === byId("prompt")) byId("composer").requestSubmit();
    });
  }

  get chat() {
    return document.querySelector('input[name="mode"]:checked').value === "chat";
  }

  /** Asks the server what it serves. */
  async discover() {
    try {
      this.model = await model(byId("key").value);
      this.fail("");
      this.describe();
    } catch (err) {
      this.model = null;
      byId("model").textContent = "no model";
      this.refused(err);
    }
  }

  describe() {
    const m = this.model;
    const n = m.num_recursion ?? 1;
    const kind = { expert: "expert-choice", token: "token-choice", fixed: "fixed depths" }[m.router];
    byId("model").textContent = n > 1 ? [`${m.id}: ${n} recursions`, kind, m.routing].filter(Boolean).join(", ") : m.id;
    byId("depth-settings").hidden = n < 2;
    byId("threshold-setting").hidden = m.router !== "expert";
    Object.assign(byId("max-recursion"), { max: n, value: n });
    if (m.max_model_len) byId("max-tokens").max = m.max_model_len;
    const chat = document.querySelector('input[name="mode"][value="chat"]');
    chat.disabled = m.chat_template === false;
    chat.parentElement.title = chat.disabled ? "The model has no chat template." : "";
    this.readings.legend(n);
    this.paint();
    this.labels();
  }

  paint() {
    paint(document.documentElement, this.readings.n, this.theme);
  }

  labels() {
    const most = byId("max-recursion");
    byId("max-recursion-value").textContent = most.value === most.max ? "all" : most.value;
    const threshold = byId("threshold");
    if (!threshold.dataset.set) threshold.value = 0.5;
    byId("threshold-value").textContent = threshold.dataset.set ? Number(threshold.value).toFixed(2) : "the model's";
    byId("threshold-reset").disabled = !threshold.dataset.set;
    byId("prompt-label").textContent = this.chat ? "Your message" : "Text to continue";
  }

  /** The settings as a request has them; null where the server's own are wanted. */
  settings() {
    const most = byId("max-recursion");
    const threshold = byId("threshold");
    const seed = byId("seed").value;
    return {
      model: this.model.id,
      key: byId("key").value,
      chat: this.chat,
      temperature: byId("temperature").valueAsNumber,
      maxTokens: byId("max-tokens").valueAsNumber,
      seed: seed === "" ? null : Number(seed),
      maxRecursion: most.value === most.max ? null : Number(most.value),
      threshold: threshold.dataset.set && this.model.router === "expert" ? Number(threshold.value) : null,
    };
  }

  async generate() {
    if (this.running || !byId("settings").reportValidity()) return;
    if (!this.model) await this.discover();
    if (!this.model) return;
    const settings = this.settings();
    const question = { role: "user", content: byId("prompt").value };
    const pre = this.begin(settings, question);
    const text = [];
    try {
      const turns = settings.chat ? [...this.turns, question] : [question];
      let finish = "stop";
      for await (const piece of answer(settings, turns, this.running.signal)) {
        if (piece.finish) finish = piece.finish;
        if (!piece.tokens) continue;
        if (!pre.isConnected) break;
        for (const token of piece.tokens) {
          text.push(token.text);
          this.transcript.add(pre, token);
        }
        this.readings.count(piece.tokens);
      }
      this.say(finish === "length" ? "Ended at the most tokens." : "Ended.");
    } catch (err) {
      if (err.name === "AbortError") this.say("Stopped.");
      else this.refused(err);
    }
    this.end(settings, question, pre, text.join(""));
  }

  /** Prepares the page for an answer, and returns where its text goes. */
  begin(settings, question) {
    this.running = new AbortController();
    this.fail("");
    this.readings.reset();
    byId("send").disabled = true;
    byId("stop").disabled = false;
    byId("status").textContent = "Generating.";
    if (!settings.chat) return this.transcript.turn("Completion", false, question.content);
    this.transcript.turn("You", true, question.content);
    return this.transcript.turn("Answer", false);
  }

  end(settings, question, pre, text) {
    this.running = null;
    byId("send").disabled = false;
    byId("stop").disabled = true;
    if (settings.chat && text && pre.isConnected) { // not cleared meanwhile
      this.turns.push(question, { role: "assistant", content: text });
      byId("prompt").value = "";
    }
  }

  say(what) {
    const r = this.readings;
    const depth = r.depths ? `, mean depth ${r.meanDepth()}` : "";
    byId("status").textContent = `${what} ${r.tokens} tokens${depth}, ${r.rate()} tokens a second.`;
  }

  look(token, focused) {
    show(byId("detail"), token, this.readings.n, this.model?.router);
    if (focused) byId("status").textContent = summary(token, this.readings.n);
  }

  clear() {
    this.running?.abort();
    this.turns = [];
    this.transcript.clear();
    this.readings.reset();
    this.fail("");
    this.labels();
  }

  refused(err) {
    this.fail(err.message);
    byId("status").textContent = "";
    if (err.status === 401) byId("key").focus();
  }

  fail(message) {
    byId("error").textContent = message;
    byId("error").hidden = message === "";
  }
}

new Page();
