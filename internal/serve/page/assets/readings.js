// Figures of the answer that runs: depths, tokens, speed.
import { byId, make } from "./dom.js";
import { shade } from "./depth.js";

export class Readings {
  constructor() {
    this.n = 0;
    this.reset();
  }

  /** Draws the legend of a model with n recursions. */
  legend(n) {
    this.n = n;
    this.rows = [];
    byId("legend").replaceChildren();
    for (let d = 0; d <= n; d++) {
      const swatch = make("span", { className: "swatch" }, `${d}`);
      shade(swatch, d);
      const fill = make("span");
      const share = make("span", { className: "number" }, "–");
      const bar = make("span", { className: "bar", ariaHidden: "true" }, fill);
      const row = make("li", {}, swatch, bar, share);
      row.hidden = d === 0; // few models leave a token out altogether
      byId("legend").append(row);
      this.rows.push({ row, fill, share });
    }
    this.draw();
  }

  reset() {
    this.counts = [];
    this.tokens = 0;
    this.depths = 0;
    this.sum = 0;
    this.started = performance.now();
    this.first = null;
    this.last = null;
    this.draw();
  }

  count(tokens) {
    this.last = performance.now();
    this.first ??= this.last;
    this.tokens += tokens.length;
    for (const t of tokens) {
      if (t.depth === undefined) continue;
      this.counts[t.depth] = (this.counts[t.depth] ?? 0) + 1;
      this.depths++;
      this.sum += t.depth;
    }
    this.draw();
  }

  meanDepth() {
    return this.depths ? `${(this.sum / this.depths).toFixed(2)} of ${this.n}` : "–";
  }

  rate() {
    const seconds = (this.last - this.first) / 1000;
    return this.tokens > 1 && seconds > 0 ? ((this.tokens - 1) / seconds).toFixed(1) : "–";
  }

  draw() {
    (this.rows ?? []).forEach(({ row, fill, share }, d) => {
      const part = this.depths ? (this.counts[d] ?? 0) / this.depths : 0;
      fill.style.width = `${100 * part}%`;
      share.textContent = this.depths ? `${Math.round(100 * part)} %` : "–";
      if (d === 0) row.hidden = part === 0;
    });
    byId("mean-depth").textContent = this.meanDepth();
    byId("token-count").textContent = this.tokens ? `${this.tokens}` : "–";
    byId("rate").textContent = this.rate();
    byId("first-token").textContent = this.first === null ? "–" : `${Math.round(this.first - this.started)} ms`;
  }
}
