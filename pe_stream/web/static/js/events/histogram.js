// Counts as bars, stacked by label. Each bar is a button that narrows the range; a table has the same.

import { el, fill } from "../dom.js";
import { many, spoken } from "../words.js";

/** Labels with a colour of their own; the others share the last. */
const COLOURED = 6;

/** @typedef {{key: string, words: string, tick: string, total: number, labels: Object<string, number>}} Bar */

/** The labels that get a colour, most frequent first. @param {Bar[]} bars */
export function mostFrequent(bars) {
  const sums = new Map();
  for (const { labels } of bars) for (const [label, count] of Object.entries(labels)) sums.set(label, (sums.get(label) ?? 0) + count);
  return [...sums].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).map(([label]) => label).slice(0, COLOURED);
}

const colourOf = (label, coloured) => {
  const place = coloured.indexOf(label);
  return `var(--c${place < 0 ? COLOURED : place})`;
};

export function legend(coloured, hasOthers) {
  const names = hasOthers ? [...coloured, "other labels"] : coloured;
  return el("ul.legend", { aria: { hidden: "true" } }, names.map((label) => {
    const patch = el("span.patch");
    patch.style.background = colourOf(label, coloured);
    return el("li", {}, patch, spoken(label));
  }));
}

/** A histogram that keeps its place while its bars change. */
export class Histogram {
  #onPick;
  #bars = el("div.bars", { role: "group" });
  #table = el("div.table-wrap", { tabindex: 0, role: "region" });
  #heading;
  #scale = el("span.muted.small.figures");
  #focus = -1;

  /** @param {string} id @param {string} unit heading of the table's first column @param {(key: string) => void} onPick */
  constructor(id, unit, onPick) {
    this.unit = unit;
    this.#onPick = onPick;
    this.#heading = el("h2", { id });
    this.#bars.setAttribute("aria-labelledby", id);
    this.#table.setAttribute("aria-labelledby", id);
    this.#bars.addEventListener("keydown", (key) => this.#key(key));
    this.node = el("section.histogram.card", { "aria-labelledby": id, testid: id },
      el("div.row.ends", {}, this.#heading, this.#scale), this.#bars, el("details", {}, el("summary", {}, "As a table"), this.#table));
  }

  /** @param {string} title @param {Bar[]} bars @param {string[]} coloured @param {string|null} picked key of the bar that is chosen */
  show(title, bars, coloured, picked) {
    this.#heading.textContent = title;
    const highest = Math.max(1, ...bars.map((bar) => bar.total));
    this.#scale.textContent = `at most ${highest} a ${this.unit.toLowerCase()}`;
    const hadFocus = this.#bars.contains(document.activeElement);
    const at = bars.findIndex((bar) => bar.key === picked);
    if (at >= 0) this.#focus = at;
    else if (this.#focus < 0 || this.#focus >= bars.length) this.#focus = bars.length - 1;
    fill(this.#bars, bars.map((bar, place) => this.#bar(bar, place, highest, coloured, picked)));
    if (hadFocus) this.#buttons[this.#focus]?.focus();
    const withSome = bars.filter((bar) => bar.total);
    fill(this.#table, withSome.length ? this.#rows(withSome) : el("p.muted", {}, "No events."));
  }

  #bar(bar, place, highest, coloured, picked) {
    const stack = el("span.stack");
    const parts = Object.entries(bar.labels).sort((a, b) => order(a[0], coloured) - order(b[0], coloured));
    for (const [label, count] of parts) {
      const part = el("span");
      part.style.height = `${(count / highest) * 100}%`;
      part.style.background = colourOf(label, coloured);
      stack.append(part);
    }
    return el("button.bar-button", {
      type: "button", tabindex: place === this.#focus ? 0 : -1, title: `${bar.words}: ${many(bar.total, "event")}`,
      aria: { label: `${bar.words}: ${many(bar.total, "event")}`, pressed: String(bar.key === picked) }, data: { key: bar.key },
      onclick: () => { this.#focus = place; this.#onPick(bar.key); },
    }, stack, el("span.tick", {}, bar.tick));
  }

  get #buttons() {
    return [...this.#bars.querySelectorAll("button")];
  }

  #key(key) {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -1000, End: 1000 }[key.key];
    if (!step) return;
    key.preventDefault();
    const buttons = this.#buttons;
    this.#focus = Math.min(buttons.length - 1, Math.max(0, this.#focus + step));
    buttons.forEach((button, place) => { button.tabIndex = place === this.#focus ? 0 : -1; });
    buttons[this.#focus].focus();
  }

  #rows(bars) {
    const most = (labels) => Object.entries(labels).sort((a, b) => b[1] - a[1]).map(([label, count]) => `${spoken(label)} ${count}`).join(", ");
    return el("table", {}, el("thead", {}, el("tr", {}, [this.unit, "Events", "Labels"].map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, bars.map((bar) => el("tr", {}, el("th", { scope: "row" }, bar.words), el("td", {}, String(bar.total)), el("td", {}, most(bar.labels))))));
  }
}

function order(label, coloured) {
  const place = coloured.indexOf(label);
  return place < 0 ? COLOURED : place;
}
