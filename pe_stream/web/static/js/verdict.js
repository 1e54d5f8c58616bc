// "Was that right?": two buttons and a note. Pressed again, the mark is taken back.

import { put, remove } from "./api.js";
import { el, icon } from "./dom.js";
import { failed, toast } from "./toasts.js";

const TEXTS = { right: "That was right", wrong: "That was wrong" };

/** @param {object} entry @param {(entry: object) => void} onSaved */
export function verdictForm(entry, onSaved) {
  const path = `events/${encodeURIComponent(entry.id)}/verdict`;
  let verdict = entry.verdict;
  const buttons = Object.entries(TEXTS).map(([name, text]) => ({ name, button: el("button", {
    type: "button", testid: `verdict-${name}`, onclick: () => save(verdict === name ? null : name),
  }, icon(name), text) }));
  const note = el("textarea", { id: "note", rows: 2, maxlength: 500, testid: "note", oninput: show });
  note.value = entry.note ?? "";
  let saved = note.value;
  const keep = el("button", { type: "button", testid: "save-note", onclick: () => save(verdict) }, "Save the note");

  function show() {
    for (const { name, button } of buttons) button.setAttribute("aria-pressed", String(verdict === name));
    keep.disabled = verdict === null || note.value === saved;
  }

  async function save(to) {
    try {
      const after = to === null ? await remove(path) : await put(path, { verdict: to, note: note.value });
      verdict = after.verdict;
      saved = after.note ?? "";
      onSaved(after);
      toast(verdict === null ? "Mark taken back." : `Marked ${verdict}.`);
    } catch (error) {
      failed(error, "Not saved");
    }
    show();
  }

  show();
  return el("section.card.stack", { "aria-labelledby": "verdict" }, el("h2", { id: "verdict" }, "Was that right?"),
    el("div.row.verdicts", {}, buttons.map(({ button }) => button)),
    el("div.labelled", {}, el("label", { for: "note" }, "Note (what it was, for instance)"), note,
      el("p.hint", {}, "A note is kept with a mark.")), el("div", {}, keep));
}
