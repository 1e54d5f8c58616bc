// When things happen: a histogram by day over the last 30 days, and one by hour of a chosen day.

import { get } from "../api.js";
import { el, fill } from "../dom.js";
import { Histogram, legend, mostFrequent } from "./histogram.js";
import { addDays, localDate, longDay, moment, shortDay, zoneName } from "../zone.js";

const DAYS = 30;
const two = (number) => String(number).padStart(2, "0");

export class When {
  #onRange;
  #days;
  #hours;
  #legend = el("div");
  #day = localDate(Date.now()).date;
  #asked = 0;
  /** What was asked for last. @type {import("./filters.js").Filter} */
  filter = { source: "", label: "", verdict: "", since: "", until: "" };

  /** @param {(since: string, until: string) => void} onRange a bar was chosen (both "": none any more) */
  constructor(onRange) {
    this.#onRange = onRange;
    this.#days = new Histogram("by-day", "Day", (date) => this.#pickDay(date));
    this.#hours = new Histogram("by-hour", "Hour", (hour) => this.#pickHour(Number(hour)));
    this.node = el("div.when", {}, this.#days.node, this.#hours.node, this.#legend);
  }

  /** Count again. @param {import("./filters.js").Filter} filter */
  async load(filter) {
    this.#asked += 1;
    const mine = this.#asked;
    this.filter = filter;
    if (filter.since) this.#day = localDate(filter.since).date;
    const today = localDate(Date.now()).date;
    const first = addDays(today, 1 - DAYS);
    const only = { source: filter.source, label: filter.label, timezone: zoneName() };
    const span = (from, to) => ({ since: moment(from).toISOString(), until: moment(to).toISOString() });
    const [days, hours] = await Promise.all([
      get("timeline", { ...only, ...span(first, addDays(today, 1)), by: "day" }),
      get("timeline", { ...only, ...span(this.#day, addDays(this.#day, 1)), by: "hour" }),
    ]);
    if (mine !== this.#asked) return;
    this.#show(first, days.buckets, hours.buckets);
  }

  #show(first, dayBuckets, hourBuckets) {
    const byDate = new Map(dayBuckets.map((bucket) => [localDate(bucket.start).date, bucket]));
    const days = Array.from({ length: DAYS }, (_, place) => {
      const date = addDays(first, place);
      const { total = 0, labels = {} } = byDate.get(date) ?? {};
      return { key: date, words: shortDay(moment(date, 12)), tick: place % 5 === 4 ? String(Number(date.slice(8))) : "", total, labels };
    });
    // Where the clock is set back, an hour comes twice: both are counted in it.
    const hours = Array.from({ length: 24 }, (_, hour) => {
      const bar = { key: String(hour), words: `${two(hour)}:00 to ${two((hour + 1) % 24)}:00`, tick: hour % 6 === 0 ? two(hour) : "", total: 0, labels: {} };
      for (const { start, total, labels } of hourBuckets) {
        if (localDate(start).hour !== hour) continue;
        bar.total += total;
        for (const [label, count] of Object.entries(labels)) bar.labels[label] = (bar.labels[label] ?? 0) + count;
      }
      return bar;
    });
    const coloured = mostFrequent([...days, ...hours]);
    this.#days.show("The last 30 days", days, coloured, this.#isDay() ? this.#day : null);
    this.#hours.show(longDay(moment(this.#day, 12)), hours, coloured, this.#pickedHour());
    const others = [...days, ...hours].some((bar) => Object.keys(bar.labels).some((label) => !coloured.includes(label)));
    fill(this.#legend, coloured.length ? legend(coloured, others) : null);
  }

  #isDay() {
    const { since, until } = this.filter;
    return since === moment(this.#day).toISOString() && until === moment(addDays(this.#day, 1)).toISOString();
  }

  #pickedHour() {
    const { since, until } = this.filter;
    return since && until && Date.parse(until) - Date.parse(since) === 3_600_000 ? String(localDate(since).hour) : null;
  }

  #pickDay(date) {
    const again = this.#isDay() && date === this.#day;
    this.#day = date;
    if (again) this.#onRange("", "");
    else this.#onRange(moment(date).toISOString(), moment(addDays(date, 1)).toISOString());
  }

  #pickHour(hour) {
    if (this.#pickedHour() === String(hour)) {
      this.#onRange(moment(this.#day).toISOString(), moment(addDays(this.#day, 1)).toISOString());
      return;
    }
    const since = moment(this.#day, hour);
    this.#onRange(since.toISOString(), new Date(since.getTime() + 3_600_000).toISOString());
  }
}
