// What this browser remembers of the viewer's choices.

const PREFIX = "pe_stream.";

/** @param {string} key @param {string} otherwise */
export function kept(key, otherwise) {
  try {
    return localStorage.getItem(PREFIX + key) ?? otherwise;
  } catch {
    return otherwise; // storage may be forbidden
  }
}

/** @param {string} key @param {string} value */
export function keep(key, value) {
  try {
    localStorage.setItem(PREFIX + key, value);
  } catch {
    // The choice then lasts as long as the page.
  }
}
