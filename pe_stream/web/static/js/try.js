// Try a prompt: what would the last minute have scored?

import { post } from "./api.js";
import { el, fill, pen } from "./dom.js";
import { daemon } from "./daemon.js";
import { sharp } from "./live/painting.js";
import { link } from "./router.js";
import { drawScores } from "./score_plot.js";
import { onTheme } from "./theme.js";
import { clock } from "./zone.js";
import { score } from "./words.js";

const KEPT_TRIES = 20;
const TICK_S = 10;

/** What was tried, newest first; it lasts as long as the page. */
const tries = [];

export function view(box, place, ends) {
  const sources = [...daemon.sources.keys()];
  const text = el("input", { id: "try-text", testid: "try-text", required: true, maxlength: 300, autocomplete: "off", placeholder: "the oven timer beeps" });
  const source = el("select", { id: "try-source", testid: "try-source" }, sources.map((name) => el("option", { value: name }, name)));
  const heard = sources.find((name) => daemon.sources.get(name).state === "hearing");
  if (heard) source.value = heard;
  const button = el("button.primary", { type: "submit", testid: "try-button" }, "Try it");
  const problem = el("p.problem", { role: "alert", id: "try-problem", testid: "try-problem" });
  text.setAttribute("aria-describedby", "try-problem try-hint");
  const told = el("p.hidden", { role: "status", testid: "try-told" });
  const list = el("ol.stack", { testid: "try-results" });

  async function submit(event) {
    event.preventDefault();
    if (!text.value.trim()) return;
    problem.textContent = "";
    text.removeAttribute("aria-invalid");
    button.disabled = true;
    button.textContent = "Listening back …";
    try {
      const tried = { text: text.value.trim(), ...await post("try", { text: text.value.trim(), source: source.value }) };
      tries.unshift(tried);
      tries.length = Math.min(tries.length, KEPT_TRIES);
      told.textContent = summary(tried);
      show();
    } catch (error) {
      problem.textContent = error.status === 429 && error.retryAfterS ? `${error.message} Again in ${error.retryAfterS} s.` : error.message;
      text.setAttribute("aria-invalid", "true");
    } finally {
      button.disabled = false;
      button.textContent = "Try it";
    }
  }

  function show() {
    fill(list, tries.map((one) => el("li.card", { testid: "try-result", data: { text: one.text } }, result(one, ends))));
    if (!tries.length) {
      fill(list, el("li.empty.card", {}, el("strong", {}, "Nothing tried yet"),
        "Make the sound, then describe it: the last minute is scored again. Results stay listed below each other, to compare."));
    }
  }

  fill(box, el("h1", {}, "Try a prompt"),
    el("form.card.try-form", { onsubmit: submit },
      el("div.labelled", {}, el("label", { for: "try-text" }, "What does it sound like?"), text),
      el("div.labelled", {}, el("label", { for: "try-source" }, "Heard at"), source), button),
    problem, el("p.hint", { id: "try-hint" }, "Plain English works best: “a dog barking”, “water running from a tap”."), told, list);
  show();
  return "Try a prompt";
}

function summary({ text, source, peak, peak_at: at, scores }) {
  if (!scores.length) return `Nothing has been heard at ${source} yet.`;
  return `“${text}” at ${source}: highest ${score(peak)}${at ? ` at ${clock(at)}` : ""}.`;
}

function result(one, ends) {
  const { text, source, start, frame_s: frame, scores, peak, peak_at: peakAt } = one;
  const head = el("div.row.ends", {}, el("h2", {}, `“${text}”`, el("span.muted", {}, ` at ${source}`)),
    el("a.button", { href: link("label", { text }), testid: "make-label" }, "Make it a label"));
  if (!scores.length) return el("div.try-result", {}, head, el("p.muted", {}, summary(one)));
  const canvas = el("canvas", { role: "img", aria: { label: `Score over the last ${Math.round(scores.length * frame)} seconds. ${summary(one)}` } });
  const timed = el("div.timed", {}, canvas);
  if (peakAt) {
    const mark = el("div.edge");
    mark.style.left = `${((Date.parse(peakAt) - Date.parse(start)) / 1000 / (scores.length * frame)) * 100}%`;
    timed.append(mark);
  }
  let size = null;
  const paint = () => size && drawScores(pen(canvas), {
    width: size[0], height: size[1], from: 0, to: scores.length, threshold: null, offThreshold: null, events: [],
    scoreAt: (n) => scores[n] ?? NaN,
  });
  ends.add(sharp(canvas, (width, height) => { size = [width, height]; paint(); }), onTheme(paint));
  return el("div.try-result", {}, head,
    el("p.figures", {}, "Highest ", el("strong", {}, score(peak)), peakAt && ` at ${clock(peakAt)}`), timed, axis(start, scores.length * frame));
}

/** Clock times every ten seconds. */
function axis(start, seconds) {
  const node = el("div.axis", { aria: { hidden: "true" } });
  for (let at = 0; at <= seconds + 0.01; at += TICK_S * (seconds > 30 ? 2 : 1)) {
    const tick = el("span", {}, clock(Date.parse(start) + at * 1000));
    tick.style.left = `${(at / seconds) * 100}%`;
    node.append(tick);
  }
  return node;
}

