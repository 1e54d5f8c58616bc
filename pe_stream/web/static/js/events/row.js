// One event in a list. It follows the event while it is on.

import { el, icon, say } from "../dom.js";
import { link } from "../router.js";
import { duration, fullMoment, moment, score, spoken, VERDICTS } from "../words.js";

/** The id of the event that a row of a list is of. @param {Element} node */
export const rowId = (node) => (node instanceof HTMLElement && node.dataset.id) || "";

/** Whether a row began before an event. @param {Map<string, EventRow>} rows @param {Element} node */
export const isOlder = (rows, node, entry) => (rows.get(rowId(node))?.entry.onset ?? "") < entry.onset;

export class EventRow {
  #when = el("time.figures");
  #length = el("span.length.figures");
  #bar = el("span.fill");
  #peak = el("span.figures");
  #marks = el("span.marks");
  #ended = "";

  /** @param {object} entry as the API has it */
  constructor(entry) {
    this.entry = entry;
    this.node = el("li.event", { testid: "event-row", data: { id: entry.id, label: entry.label, source: entry.source } },
      el("a", { href: link("event", entry.id) },
        el("span.what", {}, spoken(entry.label)), el("span.where.muted", {}, entry.source), this.#when,
        this.#length, el("span.peak", {}, el("span.hidden", {}, "peak "), el("span.bar", { aria: { hidden: "true" } }, this.#bar), this.#peak),
        this.#marks));
    this.take(entry);
  }

  /** A later phase, or what the store has of it. */
  take(entry) {
    this.entry = { ...this.entry, ...entry };
    const { onset, duration_s: length, peak, phase } = this.entry;
    this.#when.dateTime = onset;
    this.#when.title = fullMoment(onset);
    say(this.#when, moment(onset));
    say(this.#length, duration(length));
    say(this.#peak, score(peak));
    this.#bar.style.transform = `scaleX(${peak})`;
    this.node.dataset.phase = phase;
    const marks = this.#markNames();
    if (marks === this.#ended) return;
    this.#ended = marks;
    this.#marks.replaceChildren(...this.#drawMarks());
  }

  #markNames() {
    const { phase, verdict, has_clip: clip, late } = this.entry;
    return [phase !== "end", verdict, clip, late].join();
  }

  #drawMarks() {
    const { phase, verdict, has_clip: clip, late } = this.entry;
    const marks = [];
    if (phase !== "end") marks.push(el("span.badge", { data: { state: "on" } }, "on now"));
    if (late) marks.push(el("span.badge", {}, "late"));
    if (verdict) marks.push(el("span.badge", { data: { state: verdict }, title: VERDICTS[verdict] }, icon(verdict), el("span.word", {}, verdict)));
    if (clip) marks.push(el("span.has-clip", { title: "has a recording" }, icon("clip"), el("span.hidden", {}, "has a recording")));
    return marks;
  }
}
