// Fields of the label form.

import { el } from "../dom.js";
import { daemon } from "../daemon.js";
import { score } from "../words.js";

/**
 * @typedef {object} Field
 * @property {string} key
 * @property {HTMLElement} node
 * @property {(HTMLInputElement|HTMLSelectElement|HTMLTextAreaElement|HTMLButtonElement)[]} inputs
 * @property {() => any} read null is the default
 * @property {(value: any) => void} write
 */

const idOf = (key) => `label-${key}`;

/** Texts, one a line. @returns {Field} */
export function lines(key, text, hint) {
  const input = el("textarea", { id: idOf(key), testid: idOf(key), rows: 3, spellcheck: "true", aria: { describedby: `${idOf(key)}-hint` } });
  return {
    key, inputs: [input],
    node: el("div.labelled", {}, el("label", { for: input.id }, text), input, el("p.hint", { id: `${idOf(key)}-hint` }, hint)),
    read: () => input.value.split("\n").map((line) => line.trim()).filter(Boolean),
    write: (value) => { input.value = (value ?? []).join("\n"); },
  };
}

/**
 * A number that may be left empty.
 * @param {string} key
 * @param {string} text
 * @param {string} hint
 * @param {{min?: number, max?: number|null, step?: number|string, placeholder?: number|string|null}} [limits]
 * @returns {Field}
 */
export function number(key, text, hint, { min = 0, max = null, step = "any", placeholder = null } = {}) {
  const input = el("input", { type: "number", id: idOf(key), testid: idOf(key), min, max, step, placeholder, inputmode: "decimal", aria: { describedby: `${idOf(key)}-hint` } });
  return {
    key, inputs: [input],
    node: el("div.labelled", {}, el("label", { for: input.id }, text), input, el("p.hint", { id: `${idOf(key)}-hint` }, hint)),
    read: () => (input.value === "" ? null : Number(input.value)),
    write: (value) => { input.value = value ?? ""; },
  };
}

/** From a number to another; null where both are empty. `most` is what an empty second one is. @returns {Field} */
export function range(key, text, hint, { max, most }) {
  const [from, to] = ["from", "to"].map((end) => el("input", {
    type: "number", id: `${idOf(key)}-${end}`, testid: `${idOf(key)}-${end}`, min: 0, max, step: "any", placeholder: end, inputmode: "decimal",
    aria: { label: `${text}, ${end}`, describedby: `${idOf(key)}-hint` },
  }));
  return {
    key, inputs: [from, to],
    node: el("div.labelled", {}, el("span.field", { aria: { hidden: "true" } }, text), el("div.range", {}, from, to),
      el("p.hint", { id: `${idOf(key)}-hint` }, hint)),
    read: () => (from.value === "" && to.value === "" ? null : [Number(from.value), to.value === "" ? most() : Number(to.value)]),
    write: (value) => { from.value = value?.[0] ?? ""; to.value = value?.[1] ?? ""; },
  };
}

/** Slider and number in step; or the default, which the checkpoint recommends. @returns {Field} */
export function threshold(standard) {
  const key = "threshold";
  const slider = el("input", { type: "range", id: idOf(key), testid: idOf(key), min: 0.01, max: 0.99, step: 0.01 });
  const exact = el("input", { type: "number", id: `${idOf(key)}-exact`, testid: `${idOf(key)}-exact`, min: 0, max: 1, step: "any", inputmode: "decimal", aria: { label: "Threshold, as a number" } });
  const recommended = el("input", { type: "checkbox", id: `${idOf(key)}-default`, testid: `${idOf(key)}-default` });
  const words = () => slider.setAttribute("aria-valuetext", score(Number(slider.value)));
  const show = (value) => { slider.value = value; exact.value = value; words(); };
  slider.addEventListener("input", () => { exact.value = slider.value; recommended.checked = false; words(); });
  exact.addEventListener("input", () => { slider.value = exact.value; recommended.checked = false; words(); });
  recommended.addEventListener("change", () => { if (recommended.checked) show(standard()); });
  return {
    key, inputs: [slider, exact, recommended],
    node: el("div.threshold-field", {},
      el("div.labelled", {}, el("label", { for: slider.id }, "Threshold"),
        el("p.hint", {}, "The score that begins an event. Raise it against false alarms, lower it against misses.")),
      slider, exact,
      el("label.check", { for: recommended.id }, recommended, "Use what the checkpoint recommends")),
    read: () => (recommended.checked || exact.value === "" ? null : Number(exact.value)),
    write: (value) => { recommended.checked = value === null; show(value ?? standard()); },
  };
}

/** One of several. @param {string[][]} options value, words @returns {Field} */
export function choice(key, text, options) {
  const input = el("select", { id: idOf(key), testid: idOf(key) }, options.map(([value, words]) => el("option", { value }, words)));
  return {
    key, inputs: [input],
    node: el("div.labelled", {}, el("label", { for: input.id }, text), input),
    read: () => input.value,
    write: (value) => {
      if (value && ![...input.options].some((option) => option.value === value)) input.append(el("option", { value }, value));
      input.value = value ?? "";
    },
  };
}

/** @returns {Field} */
export function check(key, text) {
  const input = el("input", { type: "checkbox", id: idOf(key), testid: idOf(key) });
  return {
    key, inputs: [input], node: el("label.check", { for: input.id }, input, text),
    read: () => input.checked, write: (value) => { input.checked = value ?? true; },
  };
}

/** Everywhere (null), or at the sources chosen. @returns {Field} */
export function sources() {
  const key = "sources";
  const everywhere = el("input", { type: "checkbox", id: idOf(key), testid: idOf(key) });
  const single = [...daemon.sources.keys()].map((name) => el("input", { type: "checkbox", id: `${idOf(key)}-${name}`, value: name }));
  const choices = el("div.row", {}, single.map((input) => el("label.check", { for: input.id }, input, input.value)));
  const show = () => { choices.hidden = everywhere.checked; };
  everywhere.addEventListener("change", show);
  /** In the configuration, but no source of now. */
  let unknown = [];
  return {
    key, inputs: [everywhere, ...single],
    node: el("fieldset", {}, el("legend", {}, "Where to listen for it"),
      el("label.check", { for: everywhere.id }, everywhere, "At every source"), choices),
    read: () => (everywhere.checked ? null : [...single.filter((input) => input.checked).map((input) => input.value), ...unknown]),
    write: (value) => {
      everywhere.checked = value === null;
      for (const input of single) input.checked = value?.includes(input.value) ?? false;
      unknown = (value ?? []).filter((name) => !daemon.sources.has(name));
      show();
    },
  };
}
