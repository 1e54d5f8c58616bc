// An address that leads nowhere.

import { el, fill } from "./dom.js";
import { link } from "./router.js";

export function view(box, place) {
  return notFound(box, `There is no page “${place.parts.join("/")}” here.`);
}

/** Also for an event or a label that is gone. */
export function notFound(box, sentence) {
  fill(box, el("h1", { testid: "not-found" }, "Not found"), el("p", {}, sentence),
    el("p", {}, el("a.alone", { href: link("live") }, "To what is heard now")));
  return "Not found";
}
