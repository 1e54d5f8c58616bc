// Elements without HTML strings: whatever comes from outside is text and nothing else.

const SVG = "http://www.w3.org/2000/svg";

/**
 * The element of `tag.class.class`.
 * @template {string} What
 * @typedef {What extends `${infer Tag extends keyof HTMLElementTagNameMap}.${string}` ? HTMLElementTagNameMap[Tag]
 *   : What extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[What] : HTMLElement} ElementOf
 */

/** @typedef {Node|string|number|null|undefined|boolean|any[]} Child lists of them too; what is empty or false is left out */

/**
 * el("button.primary", {type: "button", onclick: save}, "Save")
 *
 * Keys: `on...` are listeners, `data` and `aria` are objects, `true` is an empty attribute, null and
 * false leave it out; `value`, `checked` and the like are set as properties.
 * @template {string} What
 * @param {What} what tag and classes
 * @param {Record<string, any>} [attributes]
 * @param {...Child} children
 * @returns {ElementOf<What>}
 */
export function el(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const node = /** @type {ElementOf<What>} */ (document.createElement(tag));
  if (classes.length) node.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(node.dataset, value);
    else if (key === "aria") for (const [k, v] of Object.entries(value)) node.setAttribute(`aria-${k}`, v);
    else if (key === "testid") node.dataset.testid = value;
    else if (["value", "checked", "disabled", "selected", "open", "indeterminate"].includes(key)) node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...flat(children));
  return node;
}

/** The element of the page that has this id; the page cannot be without it. */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`the page has no #${id}`);
  return node;
}

/** What one draws on a canvas with. @param {HTMLCanvasElement} canvas */
export function pen(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser draws on no canvas");
  return context;
}

/** Replace what `node` holds. */
export function fill(node, ...children) {
  node.replaceChildren(...flat(children));
  return node;
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Set text only where it differs: screen readers and layout are left alone. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const ICONS = {
  live: "M3 12h3M8 7v10M12 3v18M16 8v8M19 12h2",
  events: "M4 6h16M4 12h16M4 18h10",
  labels: "M4 5h8l8 8-7 7-9-9zM8.5 9.5h.01",
  try: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5",
  search: "M4 4v5h5M4.6 9A8 8 0 1 1 4 13M12 8v5l3.5 2",
  health: "M3 12h4l3-7 4 14 3-7h4",
  theme: "M12 4a8 8 0 1 0 0 16V4z M12 4a8 8 0 0 1 0 16",
  hearing: "M4 10v4M8 7v10M12 4v16M16 8v8M20 11v2",
  flat: "M3 12h18",
  lost: "M5 5l14 14M19 5L5 19",
  starting: "M12 4v4M12 16v4M4 12h4M16 12h4",
  right: "M5 12.5l4.5 4.5L19 7.5",
  wrong: "M6 6l12 12M18 6L6 18",
  clip: "M8 5l11 7-11 7z",
  listen: "M4 9v6h4l5 4V5L8 9zM16 9c1.4 1.7 1.4 4.3 0 6M18.5 6.5c3 3.1 3 7.9 0 11",
  stop: "M7 7h10v10H7z",
  up: "M12 19V5M6 11l6-6 6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  warning: "M12 4l9 16H3zM12 10v5M12 17.5v.01",
};

/** A drawn sign for the eye; the words beside it are what is read out. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}
