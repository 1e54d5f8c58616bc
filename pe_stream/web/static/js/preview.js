// "How often would it have fired?": asked while a threshold is moved, not at every step of it.

import { post } from "./api.js";
import { daemon } from "./daemon.js";
import { duration, times } from "./words.js";

const PAUSE_MS = 180;
const HOURS = 24;

/** Asks for a label; only the last of quick questions is answered. */
export class Preview {
  #label;
  #answer;
  #timer = 0;
  /** @type {AbortController|null} */
  #abort = null;

  /** @param {string} label @param {(words: string, preview: object|null) => void} answer */
  constructor(label, answer) {
    this.#label = label;
    this.#answer = answer;
  }

  /** @param {object} rule threshold, and what else differs from the rule in force; null is the default */
  ask(rule) {
    this.cancel();
    this.#timer = setTimeout(() => this.#now(rule), PAUSE_MS);
  }

  cancel() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
  }

  async #now(rule) {
    const abort = new AbortController();
    this.#abort = abort;
    try {
      const path = `labels/${encodeURIComponent(this.#label)}/preview`;
      const preview = await post(path, { ...rule, hours: HOURS }, { signal: abort.signal });
      const sources = Object.keys(daemon.labels.get(this.#label)?.now ?? {}).length;
      this.#answer(previewWords(preview, sources), preview);
    } catch (error) {
      if (error.name === "AbortError") return;
      // It can still be set: one only cannot know beforehand.
      this.#answer(`no preview: ${error.message.replace(/\.$/, "")}`, null);
    }
  }
}

/**
 * @param {{hours: number, covered_s: number, count: number, count_now: number|null}} preview count_now: null where unknown
 * @param {number} sources that it is of: covered_s is the sum of theirs
 */
export function previewWords({ hours, covered_s: allCovered, count, count_now: countNow }, sources = 1) {
  if (!allCovered) return "no preview: no scores are kept of that time yet";
  const covered = allCovered / Math.max(1, sources);
  const whole = covered > 0.97 * hours * 3600;
  const span = whole ? `the last ${hours} h` : `the ${duration(covered)} of the last ${hours} h that are kept`;
  const now = countNow === null ? "how often it does now is not known from scores" : `now ${countNow}`;
  return `would have fired ${times(count)} in ${span} (${now})`;
}
