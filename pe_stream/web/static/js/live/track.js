// One label at one source: its score over the last 30 s, its threshold, its events.

import { el, pen, say } from "../dom.js";
import { ruleOf } from "../daemon.js";
import { link } from "../router.js";
import { onTheme } from "../theme.js";
import { score, spoken } from "../words.js";
import { DRAWN, KEPT } from "./heard.js";
import { painting, repaint, roll, sharp } from "./painting.js";
import { drawScores, smoothed } from "../score_plot.js";
import { thresholdSlider } from "./threshold.js";

const WORDS_EVERY_MS = 5000;

/** @param {import("./heard.js").Heard} heard */
export function track(label, source, heard, ends) {
  const canvas = el("canvas", { role: "img" });
  const plot = el("div.plot", {}, el("div.window", {}, canvas));
  const state = el("span.on-now", { hidden: true }, "on now");
  const figure = el("span.score.figures", { testid: "score" }, "–");
  const limit = el("span.limit.figures");
  const node = el("li.track", { testid: "track", data: { label } },
    el("div.name", {}, el("a", { href: link("label", label) }, spoken(label)), state), plot,
    el("div.figures-now", {}, figure, limit));
  const context = pen(canvas);
  let size = [0, 0];
  let threshold = 0.5;
  let shown = null;
  let worded = -Infinity;

  plot.append(thresholdSlider(label, source, plot, (value) => {
    threshold = value;
    say(limit, `≥ ${score(value)}`);
    redraw();
  }, ends));

  function redraw() {
    shown = null;
    repaint();
  }

  function paint(now) {
    if (now - worded > WORDS_EVERY_MS) { worded = now; words(); }
    if (heard.end === shown || !size[0]) return;
    shown = heard.end;
    roll(canvas, heard.lag(now), size[0] / DRAWN);
    const rule = ruleOf(source, label);
    drawScores(context, {
      width: size[0], height: size[1], from: heard.end - DRAWN, to: heard.end, threshold,
      offThreshold: rule ? Math.min(rule.off_threshold, threshold) : null,
      dim: rule ? !rule.enabled : false,
      scoreAt: scoreAt(rule),
      events: events(),
    });
  }

  /** As the threshold is compared with it. */
  function scoreAt(rule) {
    const scores = heard.scores.get(label);
    return smoothed((n) => (scores && n >= heard.first && n < heard.end ? scores[n % KEPT] : NaN), rule?.smooth_s);
  }

  function events() {
    const mine = [];
    for (const event of heard.events.values()) {
      if (event.label === label) mine.push({ from: event.from, to: event.to ?? heard.end });
    }
    return mine;
  }

  /** With every hop: figures and state. */
  function hop() {
    const rule = ruleOf(source, label);
    const now = scoreAt(rule)(heard.end - 1);
    say(figure, Number.isNaN(now) ? "–" : score(now));
    const off = rule && !rule.enabled;
    const on = !off && [...heard.events.values()].some((event) => event.label === label && event.to === null);
    say(state, off ? "switched off" : "on now");
    state.hidden = !on && !off;
    node.classList.toggle("is-on", on);
    node.classList.toggle("is-loud", now >= threshold);
  }

  function words() {
    canvas.setAttribute("aria-label", `Score of ${spoken(label)} over the last 30 seconds: now ${figure.textContent}, `
      + `highest ${score(heard.highest(label))}, threshold ${score(threshold)}`);
  }

  words();
  ends.add(
    sharp(canvas, (width, height) => { size = [width, height]; redraw(); }),
    onTheme(redraw),
    painting(plot, paint),
  );
  return { node, label, hop };
}
