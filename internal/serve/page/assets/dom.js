// Elements made by hand: text is always text, never markup.

/** An element with properties and children; a string among these becomes text. */
export function make(name, properties = {}, ...children) {
  const e = Object.assign(document.createElement(name), properties);
  e.append(...children);
  return e;
}

export const byId = (id) => document.getElementById(id);

/** A text with its blanks made visible. */
export function visible(text) {
  return text.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥").replace(/[\u0000-\u001f\u007f]/g, "�") || "(no text)";
}
