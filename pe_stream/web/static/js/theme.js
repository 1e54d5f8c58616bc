// Light or dark: as the system prefers, unless the viewer chose. Canvases ask here for colours.

import { keep, kept } from "./kept.js";
import { Signal } from "./signal.js";

const NAMES = [
  "ink", "muted", "line", "surface", "track", "quiet", "quiet-fill", "loud", "loud-fill", "event", "accent",
];
const root = document.documentElement;
const changed = new Signal();
let colours = null;

export const isDark = () => root.dataset.theme === "dark";

export function toggle() {
  const theme = isDark() ? "light" : "dark";
  use(theme);
  keep("theme", theme);
}

/** Call `listener` whenever colours change. @returns {() => void} ends it */
export const onTheme = (listener) => changed.on(listener);

/** The custom properties that canvases draw with, by name. */
export function palette() {
  if (!colours) {
    const style = getComputedStyle(root);
    colours = Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  return colours;
}

function use(theme) {
  root.dataset.theme = theme;
  colours = null;
  changed.send(theme);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (system) => {
  if (!kept("theme", "")) use(system.matches ? "dark" : "light");
});
