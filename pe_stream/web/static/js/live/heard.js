// The last seconds of every source, whichever view is shown: bands, levels, scores, events.
//
// Everything is by frame: the whole number of 40 ms since 1970, so that sources, labels and events
// line up. Rings are indexed by it modulo their length.

import { Signal } from "../signal.js";
import { on } from "../stream.js";

export const FRAME_MS = 40;
export const SHOWN = 750; // frames: 30 s
export const KEPT = 1024; // what is shown, and some that have arrived but are not shown yet
export const BANDS = 64;

/** @type {Map<string, Heard>} */
const all = new Map();

/** @returns {Heard} also of a source of which nothing has come yet */
export function heardAt(source) {
  if (!all.has(source)) all.set(source, new Heard());
  return all.get(source);
}

export const toFrame = (utc) => Math.round(Date.parse(utc) / FRAME_MS);

export class Heard {
  bands = new Uint8Array(KEPT * BANDS);
  /** dBFS per frame; -Infinity is silence, NaN is a frame that never came. */
  levels = new Float32Array(KEPT).fill(NaN);
  /** Scores by label; NaN where there is none. @type {Map<string, Float32Array>} */
  scores = new Map();
  /** Frames are known from here ... */
  first = 0;
  /** ... to before here. */
  end = 0;
  /** Events by id, as {label, from, to} in frames; `to` is null while one is on. */
  events = new Map();
  changed = new Signal();
  #hop = 12;
  #arrived = 0;
  #edge = 0;
  #asked = 0;

  /** Take a hop of the stream. */
  take(hop) {
    const start = toFrame(hop.start);
    const count = hop.scores.length;
    if (this.end === 0 || start < this.end - KEPT / 2 || start > this.end + KEPT) this.#begin(start);
    this.#clear(this.end, start);
    const bytes = atob(hop.bands);
    for (let i = 0; i < count; i += 1) {
      const at = (start + i) % KEPT;
      for (let band = 0; band < BANDS; band += 1) this.bands[at * BANDS + band] = bytes.charCodeAt(i * BANDS + band);
      this.levels[at] = hop.level_dbfs[i] ?? -Infinity;
      for (const scores of this.scores.values()) scores[at] = NaN;
      hop.labels.forEach((label, column) => { this.#of(label)[at] = hop.scores[i][column]; });
    }
    this.end = start + count;
    this.first = Math.max(this.first, this.end - KEPT);
    this.#hop = count;
    this.#arrived = performance.now();
    for (const [id, event] of this.events) {
      if (event.to !== null && event.to < this.first) this.events.delete(id);
    }
    this.changed.send();
  }

  /** Take any phase of an event. */
  note(event) {
    this.events.set(event.id, {
      label: event.label, from: toFrame(event.onset), to: event.offset ? toFrame(event.offset) : null,
    });
  }

  /**
   * The moment at the right edge, in frames: it moves evenly although frames come a hop at a time,
   * and therefore stays up to a hop behind the newest.
   */
  edge(now) {
    const target = Math.min(this.end, this.end - this.#hop + (now - this.#arrived) / FRAME_MS);
    const even = this.#edge + (now - this.#asked) / FRAME_MS;
    const off = target - even;
    this.#edge = Math.min(this.end, Math.abs(off) > 2 * this.#hop ? target : even + off * 0.06);
    this.#asked = now;
    return this.#edge;
  }

  /** The highest score of a label within the last `frames`, 0 where there is none. */
  highest(label, frames = SHOWN) {
    const scores = this.scores.get(label);
    let highest = 0;
    for (let n = Math.max(this.first, this.end - frames); scores && n < this.end; n += 1) {
      if (scores[n % KEPT] > highest) highest = scores[n % KEPT];
    }
    return highest;
  }

  /** The level of the last frame, in dBFS; null for silence or nothing. */
  get level() {
    const level = this.levels[(this.end + KEPT - 1) % KEPT];
    return Number.isFinite(level) ? level : null;
  }

  #begin(start) {
    this.first = start;
    this.end = start;
    this.#clear(start, start + KEPT);
  }

  #clear(from, to) {
    for (let n = from; n < Math.min(to, from + KEPT); n += 1) {
      this.bands.fill(0, (n % KEPT) * BANDS, (n % KEPT) * BANDS + BANDS);
      this.levels[n % KEPT] = NaN;
      for (const scores of this.scores.values()) scores[n % KEPT] = NaN;
    }
  }

  #of(label) {
    if (!this.scores.has(label)) this.scores.set(label, new Float32Array(KEPT).fill(NaN));
    return this.scores.get(label);
  }
}

on.hop.on((hop) => heardAt(hop.source).take(hop));
on.event.on((event) => heardAt(event.source).note(event));
