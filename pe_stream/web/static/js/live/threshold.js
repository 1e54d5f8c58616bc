// The line on a track that is the threshold: dragged with a pointer, or moved with the keyboard.

import { el, say } from "../dom.js";
import { changed, isWritable, ruleOf, whyNotWritable } from "../daemon.js";
import { Preview } from "../preview.js";
import { score, spoken } from "../words.js";
import { saveThreshold } from "./save_threshold.js";

const LOWEST = 0.01;
const HIGHEST = 0.99;
const KEYS = { ArrowUp: 0.01, ArrowRight: 0.01, ArrowDown: -0.01, ArrowLeft: -0.01, PageUp: 0.1, PageDown: -0.1 };
/** With the keyboard, it is saved when no key was pressed for this long. */
const SETTLED_MS = 1200;

const within = (value) => Math.round(Math.min(HIGHEST, Math.max(LOWEST, value)) * 100) / 100;

/**
 * @param {string} label
 * @param {string} source
 * @param {HTMLElement} plot the line lies in it
 * @param {(threshold: number) => void} onMove draw it there
 */
export function thresholdSlider(label, source, plot, onMove, ends) {
  const bubble = el("span.bubble", { testid: "preview", hidden: true });
  const node = el("div.threshold", {
    role: "slider", tabindex: 0, testid: "threshold",
    aria: { label: `Threshold of ${spoken(label)}, seen at ${source}`, valuemin: LOWEST, valuemax: HIGHEST, orientation: "vertical" },
  }, el("span.grip"), bubble);
  const preview = new Preview(label, (words) => { previewed = words; show(); });
  let value = 0.5;
  let before = null; // in force when the move began; null while nothing moves
  let saving = false;
  let previewed = "";
  let settle = 0;

  function show() {
    node.style.top = `${(1 - value) * 100}%`;
    node.classList.toggle("low", value < 0.5);
    node.setAttribute("aria-valuenow", String(value));
    node.setAttribute("aria-valuetext", previewed ? `${score(value)}, ${previewed}` : score(value));
    say(bubble, previewed ? `${score(value)} · ${previewed}` : score(value));
    bubble.hidden = before === null;
    node.classList.toggle("moving", before !== null);
    onMove(value);
  }

  function follow() {
    const rule = ruleOf(source, label);
    const usable = isWritable();
    node.setAttribute("aria-disabled", String(!usable));
    node.title = usable ? "" : whyNotWritable();
    if (before !== null || saving || !rule) return;
    value = rule.threshold;
    previewed = "";
    show();
  }

  function move(to) {
    before ??= value;
    const next = within(to);
    if (next === value && previewed) return;
    value = next;
    preview.ask({ threshold: value });
    show();
  }

  async function done() {
    clearTimeout(settle);
    if (before === null || saving) return;
    const from = before;
    before = null;
    preview.cancel();
    show();
    if (value !== from) {
      saving = true;
      await saveThreshold(label, from, value);
      saving = false;
    }
    follow();
  }

  function giveUp() {
    clearTimeout(settle);
    preview.cancel();
    if (before === null) return;
    before = null;
    follow();
  }

  node.addEventListener("keydown", (key) => {
    if (!isWritable()) return;
    const step = KEYS[key.key];
    if (step) move(value + step);
    else if (key.key === "Home") move(LOWEST);
    else if (key.key === "End") move(HIGHEST);
    else if (key.key === "Enter") done();
    else if (key.key === "Escape") giveUp();
    else return;
    key.preventDefault();
    clearTimeout(settle);
    if (before !== null) settle = setTimeout(done, SETTLED_MS);
  });
  node.addEventListener("blur", done);
  drag(node, plot, { value: () => value, move, done, giveUp });
  ends.add(changed.rules.on((which) => { if (!which || which === source) follow(); }), changed.info.on(follow), done);
  follow();
  return node;
}

/** Shift makes it five times finer: a track is only some 50 pixels high. */
function drag(node, plot, { value, move, done, giveUp }) {
  let exact = 0;
  let last = 0;
  node.addEventListener("pointerdown", (press) => {
    if (press.button !== 0 || !isWritable()) return;
    press.preventDefault();
    node.focus({ preventScroll: true });
    node.setPointerCapture(press.pointerId);
    exact = value();
    last = press.clientY;
  });
  node.addEventListener("pointermove", (pointer) => {
    if (!node.hasPointerCapture(pointer.pointerId)) return;
    exact += ((last - pointer.clientY) / plot.clientHeight) * (pointer.shiftKey ? 0.2 : 1);
    last = pointer.clientY;
    move(exact);
  });
  node.addEventListener("pointerup", done);
  node.addEventListener("pointercancel", giveUp);
}
