// What sounds must form to make an event: nothing, a rhythm, several of them, or another label after one.

import { el } from "../dom.js";
import { daemon } from "../daemon.js";
import { spoken } from "../words.js";
import { choice, number, range } from "./fields.js";

/** As in the configuration (config/patterns.py): a rhythm that is known is told by its name. */
const RHYTHMS = { T3: [0.5, 0.5, 0.5, 0.5, 0.5, 1.5], T4: [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 5] };
const KINDS = [
  ["", "Nothing: each sound is an event"],
  ["T3", "The rhythm of smoke alarms (T3)"],
  ["T4", "The rhythm of carbon monoxide alarms (T4)"],
  ["rhythm", "Another rhythm"],
  ["times", "Several sounds of it"],
  ["then", "Another label after it"],
];
const LONGEST_S = 600;
const HINTS = {
  T3: "It is the rhythm that decides: the recommended threshold is then 0.02.",
  T4: "It is the rhythm that decides: the recommended threshold is then 0.02.",
  rhythm: "It is the rhythm that decides: the recommended threshold is then 0.02.",
  times: "An event is as many sounds of this label as told, or more.",
  then: "An event is that label’s after a sound of this one.",
};

/** A field as in fields.js. @param {string|null} own name of the label, null for a new one */
export function pattern(own) {
  const others = [...daemon.labels.keys()].filter((name) => name !== own).map((name) => [name, spoken(name)]);
  const kind = choice("pattern", "What the sounds must form", KINDS);
  const beats = seconds("pattern-rhythm", "Seconds of sound, silence, sound, … silence", "The pause at the end is the longest.");
  const within = number("pattern-within_s", "Within, s", `At most ${LONGEST_S}.`, { max: LONGEST_S });
  const any = { max: LONGEST_S, most: () => within.read() ?? LONGEST_S };
  const parts = {
    times: number("pattern-times", "How many", "Or more.", { min: 2, max: 100, step: 1 }),
    rhythm: beats,
    then: choice("pattern-then", "Which label", others),
    within_s: within,
    length_s: range("pattern-length_s", "Each lasts, s", "Empty: any length.", any),
    gap_s: range("pattern-gap_s", "Silence in between, s", "Empty: any.", any),
    cycles: number("pattern-cycles", "How often", "Cycles before it counts.", { min: 1, max: 20, step: 1, placeholder: 2 }),
    tolerance: number("pattern-tolerance", "Faster or slower, by", "A part, 0.01 to 0.2.", { min: 0.01, max: 0.2, placeholder: 0.1 }),
  };
  const OF = { "": [], T3: ["cycles", "tolerance"], T4: ["cycles", "tolerance"], rhythm: ["rhythm", "cycles", "tolerance"],
    times: ["times", "within_s", "length_s", "gap_s"], then: ["then", "within_s"] };
  const hint = el("p.hint", { id: "label-pattern-hint" });
  const grid = el("div.grid", {}, Object.values(parts).map((part) => part.node));
  /** Keys of what was loaded that this form does not know: they stay. */
  let unknown = {};
  let loaded = "";

  function show() {
    const now = kind.read();
    for (const [key, part] of Object.entries(parts)) part.node.hidden = !OF[now].includes(key);
    grid.hidden = OF[now].length === 0;
    hint.textContent = HINTS[now] ?? "";
    hint.hidden = !hint.textContent;
  }

  /** Something to begin with. */
  function begin() {
    const now = kind.read();
    if (now === "times" && parts.times.read() === null) parts.times.write(3);
    if (OF[now].includes("within_s") && within.read() === null) within.write(10);
  }

  const [select] = kind.inputs;
  select.setAttribute("aria-describedby", hint.id);
  select.addEventListener("input", () => { begin(); show(); });
  return {
    key: "pattern", parts, inputs: [...kind.inputs, ...Object.values(parts).flatMap((part) => part.inputs)],
    node: el("fieldset.stack", { testid: "pattern" }, el("legend", {}, "Pattern"), kind.node, hint, grid),
    read: () => {
      const now = kind.read();
      if (!now) return null;
      const told = Object.fromEntries(OF[now].map((key) => [key, parts[key].read()]).filter(([, value]) => value !== null));
      const all = { ...(now === loaded ? unknown : {}), ...(now in RHYTHMS ? { rhythm: now } : {}), ...told };
      return now in RHYTHMS && Object.keys(all).length === 1 ? now : all;
    },
    write: (value) => {
      const all = typeof value === "string" ? { rhythm: value } : value ?? {};
      loaded = kindOf(all);
      kind.write(loaded);
      for (const [key, part] of Object.entries(parts)) part.write(key === "rhythm" && loaded !== "rhythm" ? null : all[key] ?? null);
      if (all.then === undefined || all.then === null) parts.then.write(others[0]?.[0] ?? null);
      unknown = Object.fromEntries(Object.entries(all).filter(([key, one]) => !(key in parts) && one !== null));
      show();
    },
  };
}

function kindOf({ rhythm, times, then }) {
  if (rhythm) return Object.keys(RHYTHMS).find((name) => rhythm === name || String(rhythm) === String(RHYTHMS[name])) ?? "rhythm";
  if (times) return "times";
  return then ? "then" : "";
}

/** Numbers in a row. What is none is told as it was typed, so that it is named when it is refused. */
function seconds(key, text, hint) {
  const id = `label-${key}`;
  const input = el("input", { id, testid: id, inputmode: "text", autocomplete: "off", placeholder: "0.5 0.5 0.5 1.5", aria: { describedby: `${id}-hint` } });
  return {
    key, inputs: [input],
    node: el("div.labelled.wide-field", {}, el("label", { for: id }, text), input, el("p.hint", { id: `${id}-hint` }, hint)),
    read: () => input.value.split(/[\s,;]+/).filter(Boolean).map((part) => (Number.isNaN(Number(part)) ? part : Number(part))),
    write: (value) => { input.value = [value ?? []].flat().join(" "); },
  };
}
