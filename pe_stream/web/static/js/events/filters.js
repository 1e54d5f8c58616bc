// Which events are asked for: a form, and the same in the address so that it can be kept and sent.

import { el } from "../dom.js";
import { daemon } from "../daemon.js";
import { fromInput, toInput } from "../zone.js";
import { spoken } from "../words.js";

/** @typedef {{source: string, label: string, verdict: string, since: string, until: string}} Filter "" is any */

/** @param {URLSearchParams} query @returns {Filter} */
export function fromQuery(query) {
  const text = (key) => query.get(key) ?? "";
  const time = (key) => (Number.isNaN(Date.parse(text(key))) ? "" : text(key));
  return { source: text("source"), label: text("label"), verdict: text("verdict"), since: time("since"), until: time("until") };
}

/** Whether an event that has just come belongs to what is shown. @param {Filter} filter */
export function lets(filter, entry) {
  if (filter.source && entry.source !== filter.source) return false;
  if (filter.label && entry.label !== filter.label) return false;
  if (filter.verdict && filter.verdict !== "any" && (entry.verdict ?? "none") !== filter.verdict) return false;
  const onset = Date.parse(entry.onset);
  return !(filter.since && onset < Date.parse(filter.since)) && !(filter.until && onset >= Date.parse(filter.until));
}

/** @param {Filter} filter @param {(filter: Filter) => void} onChange */
export function filterForm(filter, onChange) {
  const selects = {
    source: choose("source", "Source", [["", "all"], ...[...daemon.sources.keys()].map((name) => [name, name])]),
    label: choose("label", "Label", [["", "all"], ...[...daemon.labels.keys()].map((name) => [name, spoken(name)])]),
    verdict: choose("verdict", "Marked", [["", "all"], ["none", "not yet"], ["right", "right"], ["wrong", "wrong"]]),
  };
  const since = time("since", "From");
  const until = time("until", "To");
  const clear = el("button.quiet", { type: "reset", testid: "filter-clear" }, "Clear");
  const form = el("form.filters", {
    testid: "filters", "aria-label": "Which events", role: "search",
    onsubmit: (submit) => submit.preventDefault(),
    onchange: () => onChange(read()),
    onreset: () => { write(fromQuery(new URLSearchParams())); onChange(read()); },
  }, [...Object.values(selects), since, until].map((one) => one.node), clear);

  function choose(name, text, options) {
    // What is asked for may be gone from the configuration, its events are not.
    if (filter[name] && !options.some(([value]) => value === filter[name])) options.push([filter[name], filter[name]]);
    const input = el("select", { id: `filter-${name}`, testid: `filter-${name}` },
      options.map(([value, words]) => el("option", { value }, words)));
    return { node: el("div.labelled", {}, el("label", { for: input.id }, text), input), input };
  }

  function time(name, text) {
    const input = el("input", { type: "datetime-local", id: `filter-${name}`, testid: `filter-${name}` });
    return { node: el("div.labelled.time", {}, el("label", { for: input.id }, text), input), input };
  }

  function read() {
    const when = (input) => (input.value ? fromInput(input.value).toISOString() : "");
    return {
      source: selects.source.input.value, label: selects.label.input.value, verdict: selects.verdict.input.value,
      since: when(since.input), until: when(until.input),
    };
  }

  /** @param {Filter} next */
  function write(next) {
    for (const [name, { input }] of Object.entries(selects)) input.value = next[name];
    since.input.value = next.since ? toInput(next.since) : "";
    until.input.value = next.until ? toInput(next.until) : "";
  }

  write(filter);
  return { node: form, write };
}
