// Prompts that the scores may say nothing about: another language, or words that no sound was described with.

import { post } from "../api.js";
import { el, fill } from "../dom.js";

const PAUSE_MS = 300;
/** As the API takes them. */
const MOST = 50;
const LONGEST = 500;

/** Asks while prompts are typed, not at every letter; only the last of quick questions is answered. */
export class Hints {
  #box;
  #asked = "";
  #timer = 0;
  /** @type {AbortController|null} */
  #abort = null;

  /** @param {HTMLElement} box where they are shown */
  constructor(box) {
    this.#box = box;
  }

  /** @param {string[]} prompts */
  ask(prompts) {
    const few = prompts.filter((prompt) => prompt && prompt.length <= LONGEST).slice(0, MOST);
    if (few.join("\n") === this.#asked) return;
    this.cancel();
    this.#asked = few.join("\n");
    this.#timer = setTimeout(() => this.#now(few), PAUSE_MS);
  }

  cancel() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#asked = "";
  }

  async #now(prompts) {
    const abort = new AbortController();
    this.#abort = abort;
    try {
      const { hints } = prompts.length ? await post("hints", { prompts }, { signal: abort.signal }) : { hints: [] };
      fill(this.#box, hints.length > 0 && el("ul.note.stack", { testid: "hints" }, hints.map(({ hint }) => el("li", {}, `${hint}.`.replace(/([?.])\.$/, "$1")))));
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(this.#box); // a hint alone: what is typed can be saved
      this.#asked = "";
    }
  }
}
