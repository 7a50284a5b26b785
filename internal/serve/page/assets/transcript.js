// The texts, token by token.
import { make, visible } from "./dom.js";
import { shade } from "./depth.js";

/** Holds the turns of the page, and says which token the user looks at. */
export class Transcript {
  constructor(element, onToken) {
    this.element = element;
    this.onToken = onToken;
    this.tokens = new Map(); // of the elements
    this.current = null;
    element.addEventListener("pointerover", (e) => this.look(e.target, false));
    element.addEventListener("focusin", (e) => this.look(e.target, true));
    element.addEventListener("click", (e) => this.tokens.has(e.target) && e.target.focus());
    element.addEventListener("keydown", (e) => this.move(e));
  }

  clear() {
    this.element.replaceChildren();
    this.tokens.clear();
    this.current = null;
  }

  /** Adds a turn and returns where its text goes. */
  turn(title, given, text = "") {
    const pre = make("pre");
    pre.append(text);
    const turn = make("article", { className: given ? "turn given" : "turn" }, make("h3", {}, title), pre);
    this.element.append(turn);
    this.follow();
    return pre;
  }

  add(pre, token) {
    const span = make("span", { className: token.text ? "token" : "token hollow", tabIndex: -1 }, token.text);
    span.setAttribute("aria-label", visible(token.text));
    if (token.depth !== undefined) shade(span, token.depth);
    if (this.tokens.size === 0) span.tabIndex = 0; // the way in by the Tab key
    this.tokens.set(span, token);
    const atEnd = this.atEnd();
    pre.append(span);
    if (atEnd) this.follow();
  }

  atEnd() {
    const e = this.element;
    return e.scrollHeight - e.scrollTop - e.clientHeight < 60;
  }

  follow() {
    this.element.scrollTop = this.element.scrollHeight;
  }

  look(span, focused) {
    const token = this.tokens.get(span);
    if (!token) return;
    this.current?.classList.remove("current");
    this.current = span;
    span.classList.add("current");
    if (focused) {
      for (const other of this.element.querySelectorAll('.token[tabindex="0"]')) other.tabIndex = -1;
      span.tabIndex = 0;
    }
    this.onToken(token, focused);
  }

  move(e) {
    const all = [...this.tokens.keys()];
    const at = all.indexOf(e.target);
    if (at < 0) return;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[e.key] ?? this.beside(all, at, e.key);
    if (to === undefined) return;
    e.preventDefault();
    all[Math.min(Math.max(to, 0), all.length - 1)].focus();
  }

  /** The token in the line above or below that is nearest. */
  beside(all, at, key) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[key];
    if (!step) return undefined;
    const from = all[at].getBoundingClientRect();
    let best, distance;
    for (let i = at + step; all[i]; i += step) {
      const r = all[i].getBoundingClientRect();
      const down = step * (r.top - from.top);
      if (down < from.height / 2) continue;
      const d = down * 1000 + Math.abs(r.left - from.left);
      if (distance !== undefined && down * 1000 > distance) break;
      if (distance === undefined || d < distance) [best, distance] = [i, d];
    }
    return best;
  }
}
