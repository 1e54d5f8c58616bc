// The last seconds of every source, whichever view is shown: bands, levels, scores, events.
//
// Everything is by frame: the whole number of 40 ms since 1970, so that sources, labels and events
// line up. Rings are indexed by it modulo their length.

import { Signal } from "../signal.js";
import { on } from "../stream.js";

export const FRAME_MS = 40;
export const SHOWN = 750; // frames: 30 s
export const KEPT = 1024; // what is shown, and some that have arrived but are not shown yet
/** Pictures hold so many more frames than are shown, and are moved until the next hop comes. */
export const DRAWN = SHOWN + 64;
export const BANDS = 64;
/** A little faster than they come. */
export const SHOWN_EVERY_MS = FRAME_MS * 0.97;

const toFrame = (utc) => Math.round(Date.parse(utc) / FRAME_MS);

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
  #lag = 0;
  #arrived = 0;

  /** Take a hop of the stream. */
  take(hop) {
    const now = performance.now();
    const before = this.end;
    const count = hop.scores.length;
    const begun = this.#write(hop);
    const lag = this.lag(now) + this.end - (begun ? this.end - count : before);
    this.#lag = lag > 3 * count ? count : lag;
    this.#arrived = now;
    this.changed.send();
  }

  /** Take what was heard before the stream began, or while it was broken: it is shown at once. */
  fill(past) {
    this.#write(past);
    this.#lag = 0;
    this.changed.send();
  }

  /** @returns {boolean} whether nothing is left of what was there before */
  #write(hop) {
    const start = toFrame(hop.start);
    const count = hop.scores.length;
    const begins = this.end === 0 || start < this.end - KEPT / 2 || start > this.end + KEPT;
    if (begins) this.#begin(start);
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
    this.first = Math.max(Math.min(this.first, start), this.end - KEPT);
    for (const [id, event] of this.events) {
      if (event.to !== null && event.to < this.first) this.events.delete(id);
    }
    return begins;
  }

  /** Take any phase of an event. */
  note(event) {
    this.events.set(event.id, {
      label: event.label, from: toFrame(event.onset), to: event.offset ? toFrame(event.offset) : null,
    });
  }

  /** Take an event of before, if nothing newer was told of it. */
  noteOld(event) {
    if (!this.events.has(event.id)) this.note(event);
  }

  /** Events whose end was not told end where they are; those that go on are told of again. */
  forgetOpen() {
    if (this.end === 0) return; // nothing was missed: it begins
    for (const event of this.events.values()) event.to ??= this.end;
  }

  /**
   * Frames that have come but are not shown yet. Frames come a hop at a time and are shown evenly, so
   * it falls from a hop to nothing; what has piled up is caught up with slowly, or skipped.
   * @param {number} now as performance.now()
   */
  lag(now) {
    return Math.max(0, this.#lag - (now - this.#arrived) / SHOWN_EVERY_MS);
  }

  /** The highest score of a label within the last `frames`, 0 where there is none. */
  highest(label, frames = SHOWN) {
    const scores = this.scores.get(label);
    let highest = 0;
    if (!scores) return highest;
    for (let n = Math.max(this.first, this.end - frames); n < this.end; n += 1) {
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
    const scores = this.scores.get(label) ?? new Float32Array(KEPT).fill(NaN);
    this.scores.set(label, scores);
    return scores;
  }
}

/** @type {Map<string, Heard>} */
const all = new Map();

/** @returns {Heard} also of a source of which nothing has come yet */
export function heardAt(source) {
  const heard = all.get(source) ?? new Heard();
  all.set(source, heard);
  return heard;
}

// The end of what was open may have been missed.
on.hello.on(() => {
  for (const heard of all.values()) heard.forgetOpen();
});
on.past.on((past) => heardAt(past.source).fill(past));
on.hop.on((hop) => heardAt(hop.source).take(hop));
on.event.on((event) => heardAt(event.source).note(event));
