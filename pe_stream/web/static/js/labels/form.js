// The form of a label. It knows what was loaded and what was typed, and keeps the two apart.

import { el, fill } from "../dom.js";
import { check, lines, number, sources, threshold } from "./fields.js";
import { follow } from "./follow.js";
import { loud } from "./loud.js";
import { pattern } from "./pattern.js";
import { schedule } from "./schedule.js";

/** What a label has that nobody configured. */
const NEW = { prompts: [], not: [], threshold: null, off_threshold: null, smooth_s: null, min_on_s: null, min_off_s: null, max_s: null,
  cooldown_s: null, update_s: null, sources: null, enabled: true, schedule: [], pattern: null, follow: null, loud: null, least_db: null };

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** Lists that are empty and numbers that are left out take their key out of the file. */
function forFile(value) {
  if (!Array.isArray(value)) return value;
  if (!value.length) return null;
  return value.map((one) => (typeof one === "object" ? withoutNulls(one) : one));
}

/** Whether a line of what is wrong is of a key: `labels.dog.KEY: ...`, or `labels.dog: KEY ...`. */
const names = (line, key) => new RegExp(`(^|\\.|: )${key}(?=[.:[\\s]|$)`).test(line);

/** Of a field with parts, those that a line names, as in `pattern.times: ...` and `pattern: times needs ...`; all of it, where none is. */
function partsNamed(field, line) {
  const found = Object.entries(field.parts ?? {}).filter(([key]) => new RegExp(`\\b${key}\\b`).test(line));
  return found.length ? found.map(([, part]) => part) : [field];
}

const withoutNulls = (rule) => Object.fromEntries(Object.entries(rule).filter(([, value]) => value !== null));

export class LabelForm {
  #base;
  #fields;
  /** What fields made of `#base`: "" of null, say, is not a change. */
  #written;
  #problems = el("div", { tabindex: -1, testid: "problems", id: "label-problems" });

  /** @param {object|null} label null for a new one @param {() => void} onInput */
  constructor(label, onInput) {
    this.#base = label ?? NEW;
    const recommended = () => Object.values(this.#base.now ?? {})[0]?.threshold ?? 0.5;
    const more = [
      number("off_threshold", "Off threshold", "Below it, an event ends. Empty: as the checkpoint recommends with its threshold, or 0.8 of yours.", { max: 1 }),
      number("smooth_s", "Smoothed over, s", "Thresholds go by the mean of so long; events come later by half of it. Empty: as recommended.", { max: 2 }),
      number("min_on_s", "Shortest sound, s", "Shorter ones are no event."),
      number("min_off_s", "Gaps bridged, s", "Shorter gaps do not end an event."),
      number("max_s", "Longest event, s", "It is closed then, and a new one may begin."),
      number("cooldown_s", "Quiet time after, s", "No new event for that long."),
      number("update_s", "Updates every, s", "0: only start and end."),
      number("least_db", "Least level, dBFS", "Quieter sounds do not count: -90 to 0, over half a second.", { min: -90, max: 0 }),
    ];
    const texts = [
      lines("prompts", "What the sound is, in words", "One a line; several are averaged. Empty: the name."),
      lines("not", "But not", "One a line. The label is suppressed while one of these scores higher."),
    ];
    const limit = threshold(recommended);
    const enabled = check("enabled", "Switched on");
    const where = sources();
    const times = schedule();
    const formed = pattern(label?.name ?? null);
    const following = follow();
    const byLevel = loud();
    this.#fields = [...texts, limit, enabled, where, ...more, times, formed, following, byLevel];
    this.preview = el("div", { testid: "preview" });
    this.hints = el("div", { role: "status" });
    this.node = el("div.stack", { oninput: onInput },
      this.#problems,
      el("div.form-parts", {},
        el("div.stack", {},
          el("section.card.stack", {}, texts.map((field) => field.node), this.hints, enabled.node),
          el("section.card.stack", {}, byLevel.node),
          el("section.card.stack", {}, where.node),
          el("section.card.stack", {}, formed.node)),
        el("div.stack", {},
          el("section.card.stack", {}, limit.node, this.preview,
            el("details", { testid: "more" }, el("summary", {}, "More: off threshold, durations and level"), el("div.grid", {}, more.map((field) => field.node)))),
          el("section.card.stack", {}, following.node),
          el("section.card.stack", {}, times.node))));
    for (const field of this.#fields) field.write(this.#base[field.key]);
    this.#written = this.values();
  }

  /** All keys as typed. */
  values() {
    return Object.fromEntries(this.#fields.map((field) => [field.key, field.read()]));
  }

  /** Keys that were changed, as the API takes them. */
  changes() {
    const now = this.values();
    return Object.fromEntries(Object.entries(now).filter(([key, value]) => !same(value, this.#written[key])).map(([key, value]) => [key, forFile(value)]));
  }

  /** Everything that is not the default: a new label. */
  whole() {
    return Object.fromEntries(Object.entries(this.values()).map(([key, value]) => [key, forFile(value)]).filter(([key, value]) => value !== null && !(key === "enabled" && value)));
  }

  /** Changed elsewhere: what was not touched here follows, what was typed stays. @returns {string[]} keys that differ in both */
  follow(label) {
    const typed = this.values();
    const clashes = [];
    for (const field of this.#fields) {
      const { key } = field;
      const touched = !same(typed[key], this.#written[key]);
      const theirs = !same(label[key], this.#base[key]);
      field.write(label[key]);
      this.#written[key] = field.read();
      if (touched) field.write(typed[key]);
      if (touched && theirs && !same(typed[key], this.#written[key])) clashes.push(key);
    }
    this.#base = label;
    return clashes;
  }

  /** Whether a label is another than what was loaded. */
  differs(label) {
    return this.#fields.some(({ key }) => !same(label[key], this.#base[key]));
  }

  /** Fill in as if it had been typed. */
  type(values) {
    for (const field of this.#fields) if (field.key in values) field.write(values[field.key]);
  }

  disable() {
    for (const field of this.#fields) for (const input of field.inputs) input.disabled = true;
  }

  /** @param {string} title @param {string} detail lines of what is wrong @param {Node|null} [action] */
  problem(title, detail, action = null) {
    const found = detail.split("\n").map((line) => line.trim()).filter(Boolean);
    fill(this.#problems, el("div.problems", { role: "alert" }, el("strong", {}, title), el("ul", {}, found.map((line) => el("li", {}, line))), action));
    for (const field of this.#fields) {
      const mine = found.filter((line) => names(line, field.key));
      const named = mine.length > 0;
      const wrong = new Set(mine.flatMap((line) => partsNamed(field, line)).flatMap((part) => part.inputs));
      for (const input of field.inputs) {
        if (wrong.has(input)) input.setAttribute("aria-invalid", "true");
        else input.removeAttribute("aria-invalid");
        input.setAttribute("aria-errormessage", "label-problems");
      }
      if (named) field.node.closest("details")?.setAttribute("open", "");
    }
    this.#problems.focus();
    this.#problems.scrollIntoView({ block: "center" });
  }

  noProblem() {
    fill(this.#problems);
    for (const field of this.#fields) for (const input of field.inputs) input.removeAttribute("aria-invalid");
  }
}
