// What it thinks it hears: the three highest labels of the last second, in large.

import { el, say } from "../dom.js";
import { ruleOf } from "../daemon.js";
import { score, spoken } from "../words.js";

const COUNT = 3;
const OVER = 25; // frames: a second, so that one can read it

/** @param {import("./heard.js").Heard} heard */
export function topLabels(source, heard) {
  const rows = Array.from({ length: COUNT }, () => {
    const name = el("span.what");
    const bar = el("span.fill");
    const limit = el("span.mark");
    const figure = el("span.figures");
    const sign = el("span.sign");
    const node = el("li", { hidden: true }, name, el("span.bar", { aria: { hidden: "true" } }, bar, limit), figure, sign);
    return { node, name, bar, limit, figure, sign };
  });
  const node = el("ol.top", { testid: "top-labels", aria: { label: `Highest scores at ${source} now` } }, rows.map((row) => row.node));

  function hop(labels) {
    const highest = labels.map((label) => [heard.highest(label, OVER), label]).sort((a, b) => b[0] - a[0]);
    rows.forEach((row, place) => {
      row.node.hidden = place >= highest.length || heard.end === 0;
      if (row.node.hidden) return;
      const [value, label] = highest[place];
      const rule = ruleOf(source, label);
      const loud = rule !== null && rule.enabled && value >= rule.threshold;
      say(row.name, spoken(label));
      say(row.figure, score(value));
      say(row.sign, loud ? "above threshold" : "");
      row.node.classList.toggle("is-loud", loud);
      row.node.dataset.label = label;
      row.bar.style.transform = `scaleX(${value})`;
      row.limit.style.left = `${(rule?.threshold ?? 0.5) * 100}%`;
    });
  }
  return { node, hop };
}
