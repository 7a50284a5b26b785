// Light and dark: the system's until the user picks one.
import { byId } from "./dom.js";

const order = ["system", "light", "dark"];

/** Calls onChange with the theme at hand, now and whenever it changes. */
export function follow(onChange) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let choice = "system";
  const apply = () => {
    if (choice === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    byId("theme").textContent = `Theme: ${choice}`;
    onChange(choice === "system" ? (system.matches ? "dark" : "light") : choice);
  };
  system.addEventListener("change", apply);
  byId("theme").addEventListener("click", () => {
    choice = order[(order.indexOf(choice) + 1) % order.length];
    apply();
  });
  apply();
}
