// Short messages at the edge: what was saved, what failed. Failures stay until they are closed.

import { byId, el } from "./dom.js";

const LASTS_MS = 9000;
const MOST = 4;

/**
 * @param {string} text
 * @param {{kind?: "saved"|"failed", action?: {text: string, run: () => void}|null}} [options]
 */
export function toast(text, { kind = "saved", action = null } = {}) {
  const shelf = byId("toasts");
  const close = () => note.remove();
  // A live region is read out when it is filled, so the text comes a moment after the box.
  const words = el("p", { role: kind === "failed" ? "alert" : "status" });
  const note = el("div.toast", { testid: "toast", data: { kind } },
    words,
    action && el("button.quiet", { type: "button", testid: "toast-action", onclick: () => { close(); action.run(); } }, action.text),
    el("button.quiet", { type: "button", aria: { label: "Close this message" }, onclick: close }, "Close"),
  );
  shelf.append(note);
  for (const old of [...shelf.children].slice(0, -MOST)) old.remove();
  requestAnimationFrame(() => { words.textContent = text; });
  if (kind !== "failed") leaveLater(note, close);
  return close;
}

/** Not while someone points at it or is in it with the keyboard. */
function leaveLater(note, close) {
  let timer = setTimeout(close, LASTS_MS);
  const stay = () => clearTimeout(timer);
  const leave = () => { stay(); timer = setTimeout(close, LASTS_MS); };
  note.addEventListener("pointerenter", stay);
  note.addEventListener("focusin", stay);
  note.addEventListener("pointerleave", leave);
  note.addEventListener("focusout", leave);
}

/** Say what an exception says. Requests that were given up on purpose are no failure. */
export function failed(error, before = "") {
  if (error.name === "AbortError" || error.status === 401) return;
  if (!error.status && error.name !== "ApiError") console.error(error);
  toast(before ? `${before}: ${error.message}` : error.message, { kind: "failed" });
}
