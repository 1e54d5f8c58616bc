// Figures and states in words for people.

import { clock, longDay, shortDay, zoneAt, localDate } from "./zone.js";

/** dog_bark -> dog bark */
export const spoken = (name) => name.replaceAll("_", " ");

export const score = (value) => (value === null || value === undefined ? "–" : value.toFixed(2));

export const dbfs = (value) => (value === null || value === undefined ? "silence" : `${Math.round(value)} dBFS`);

export const times = (count) => (count === 1 ? "once" : `${count} times`);

export const many = (count, one, several = `${one}s`) => `${count} ${count === 1 ? one : several}`;

/** 0.4 s, 12 s, 3 min 5 s, 4 h 10 min, 3 d 4 h */
export function duration(seconds) {
  if (seconds < 10) return `${Number(seconds.toFixed(seconds < 1 ? 2 : 1))} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  /** @type {[string, number][]} */
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => whole >= size);
  const [bigName, big] = units[first];
  const [smallName, small] = units[Math.min(first + 1, 3)];
  const rest = Math.floor((whole % big) / small);
  return `${Math.floor(whole / big)} ${bigName}${rest && big > 1 ? ` ${rest} ${smallName}` : ""}`;
}

/** 14:03:07 today, else Sat 21 Nov 14:03:07 */
export function moment(when) {
  const today = localDate(Date.now()).date === localDate(when).date;
  return today ? clock(when) : `${shortDay(when)} ${clock(when)}`;
}

export const fullMoment = (when) => `${longDay(when)}, ${clock(when)} ${zoneAt(when)}`;

export const STATES = {
  hearing: { word: "hearing", more: "It hears." },
  flat: { word: "no sound at all: is it muted?", more: "Sound arrives, but every sample is the same." },
  lost: { word: "lost", more: "It does not answer; it is looked for all the time." },
  starting: { word: "starting", more: "It is being opened." },
};

/** What is done to the sound of a source before anybody hears it; empty where nothing is. */
export function soundOf({ gain_db: gain, highpass_hz: low, lowpass_hz: high }) {
  return [
    low && `high-pass ${hertz(low)}`, high && `low-pass ${hertz(high)}`,
    gain && `gain ${gain > 0 ? "+" : "−"}${Math.abs(gain)} dB`,
  ].filter(Boolean).join(", ");
}

const hertz = (value) => (value < 1000 ? `${value} Hz` : `${value / 1000} kHz`);

/** Why an event ended other than by its score falling. */
export const REASONS = {
  gap: "It was cut off: the sound from this source broke off.",
  restart: "It was still on when pe_stream ended without notice; the next start closed it.",
  max_length: "It got as long as an event may be (max_s); what came after is a new one.",
  stopped: "pe_stream was stopped meanwhile.",
};

export const VERDICTS = { right: "marked right", wrong: "marked wrong" };
