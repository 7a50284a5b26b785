// Colours of depths: lightness alone tells them apart, so that every kind of colour vision does.

// From one recursion to all: away from the ground of the theme.
const ramps = {
  light: ["#fdf3c4", "#b9dfb9", "#5fb3c4", "#2f7ab5", "#253f7a"],
  dark: ["#2a3350", "#2a5f94", "#2f93a8", "#86c9a4", "#fbe9a0"],
};

const parse = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** The colour of a depth from 1 to n, as [red, green, blue]. */
export function ground(depth, n, theme) {
  const ramp = ramps[theme].map(parse);
  const at = n > 1 ? ((depth - 1) / (n - 1)) * (ramp.length - 1) : 0;
  const i = Math.min(Math.floor(at), ramp.length - 2);
  return ramp[i].map((c, k) => Math.round(c + (ramp[i + 1][k] - c) * (at - i)));
}

/** Relative luminance (WCAG 2.2). */
export function luminance(rgb) {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Contrast of two colours (WCAG 2.2), 1 to 21. */
export function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

/** Black or white, whichever reads better on a colour. */
export function ink(rgb) {
  return contrast(rgb, [0, 0, 0]) >= contrast(rgb, [255, 255, 255]) ? [0, 0, 0] : [255, 255, 255];
}

/** Sets the colours of n depths as properties of an element: --depth-1-ground, --depth-1-ink and so on. */
export function paint(element, n, theme) {
  for (let d = 1; d <= n; d++) {
    const colour = ground(d, n, theme);
    element.style.setProperty(`--depth-${d}-ground`, `rgb(${colour.join(" ")})`);
    element.style.setProperty(`--depth-${d}-ink`, `rgb(${ink(colour).join(" ")})`);
  }
}

/** Gives an element the colours of a depth. */
export function shade(element, depth) {
  element.dataset.depth = depth;
  if (depth > 0) {
    element.style.background = `var(--depth-${depth}-ground)`;
    element.style.color = `var(--depth-${depth}-ink)`;
  }
}
