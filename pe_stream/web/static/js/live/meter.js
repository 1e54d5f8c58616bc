// The level of a source in dBFS.

import { el, say } from "../dom.js";
import { dbfs } from "../words.js";

const LOWEST = -90;
const TOLD_EVERY_MS = 2000;

export function meter(source) {
  const bar = el("span.fill");
  const node = el("div.meter", {
    role: "meter", testid: "level",
    aria: { label: `Level at ${source}`, valuemin: LOWEST, valuemax: 0, valuenow: LOWEST, valuetext: "unknown" },
  }, el("span.bar", {}, bar));
  const figure = el("span.figures.small", { aria: { hidden: "true" } });
  let told = 0;
  let known = false;

  /** @param {number|null|undefined} level null is silence, undefined is unknown */
  function show(level) {
    const part = Math.min(1, Math.max(0, 1 - (level ?? LOWEST) / LOWEST));
    bar.style.transform = `scaleX(${part})`;
    bar.classList.toggle("is-hot", (level ?? LOWEST) > -3);
    const words = level === undefined ? "–" : dbfs(level);
    say(figure, words);
    if (known && Date.now() - told < TOLD_EVERY_MS) return;
    told = Date.now();
    known = level !== undefined;
    node.setAttribute("aria-valuenow", String(Math.round(Math.max(LOWEST, level ?? LOWEST))));
    node.setAttribute("aria-valuetext", level === undefined ? "unknown" : words);
  }
  return { node: el("div.level", {}, node, figure), show };
}
