// What is around every view: name of the node, navigation, state of the connection, banner.

import { byId, el, fill, icon, say } from "./dom.js";
import { changed, daemon } from "./daemon.js";
import { link } from "./router.js";
import { connection, now } from "./stream.js";
import * as theme from "./theme.js";

const PLACES = [
  ["live", "Live"], ["events", "Events"], ["labels", "Labels"], ["try", "Try"], ["search", "Search"], ["health", "Health"],
];
/** Views that belong to a place of the navigation without being it. */
const WITHIN = { event: "events", label: "labels", calibrate: "labels" };
/** A connection that is back within this time is not worth a banner. */
const PATIENCE_MS = 2500;

const node = el("span.node", { testid: "node" }, "pe_stream");
const pill = el("span.pill", { testid: "connection" }, el("span.dot"), el("span.word", {}, "connecting"));
const links = new Map(PLACES.map(([name, text]) => [name, el("a", { href: link(name) }, icon(name), el("span", {}, text))]));
const nav = el("nav.nav", { aria: { label: "Main" }, hidden: true },
  el("ul", {}, [...links.values()].map((a) => el("li", {}, a))));
const logout = el("button.quiet", { type: "button", testid: "logout", hidden: true }, "Log out");
let countdown = 0;
/** Since when there is no connection; 0 while there is one. */
let cutOff = 0;

export function build({ onLogout }) {
  const toggle = el("button.quiet.icon-only", { type: "button", testid: "theme" }, icon("theme"), el("span.hidden"));
  const name = () => say(toggle.lastChild, theme.isDark() ? "Use light colours" : "Use dark colours");
  name();
  toggle.addEventListener("click", theme.toggle);
  theme.onTheme(name);
  logout.addEventListener("click", onLogout);
  fill(document.getElementById("header"),
    el("a.brand", { href: link("live") },
      el("img", { src: "favicon.svg", alt: "", width: 28, height: 28 }), node),
    nav, el("div.tools", {}, pill, toggle, logout));
  connection.changed.on(showConnection);
  changed.info.on(({ node: itsName }) => say(node, itsName));
}

/** There is something to navigate. */
export function ready() {
  nav.hidden = false;
  pill.hidden = false;
  showConnection();
}

export function session({ required, authenticated }) {
  logout.hidden = !(required && authenticated);
  nav.hidden = required && !authenticated;
  pill.hidden = nav.hidden;
  if (nav.hidden) hideBanner();
}

export function current(name) {
  for (const [place, a] of links) {
    if (place === (WITHIN[name] ?? name)) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
}

export function title(text) {
  document.title = `${text} · ${daemon.info?.node ?? "pe_stream"}`;
}

function showConnection() {
  const { state } = connection;
  pill.dataset.state = state;
  say(pill.lastChild, { open: "live", connecting: "connecting", waiting: "cut off", asleep: "paused" }[state]);
  if (state === "open" || state === "asleep") {
    hideBanner();
    cutOff = 0;
    return;
  }
  cutOff ||= Date.now();
  clearTimeout(countdown);
  countdown = setTimeout(banner, Math.max(0, cutOff + PATIENCE_MS - Date.now()));
}

const box = () => byId("banner");
const broken = () => box().childElementCount > 0;

function hideBanner() {
  clearTimeout(countdown);
  if (broken()) fill(box());
}

/** The sentence is a live region and stays as it is; the seconds beside it are for the eye. */
function banner() {
  if (connection.state === "open" || nav.hidden) return;
  if (!broken()) {
    fill(box(), el("div.banner", { testid: "banner" }, icon("warning"),
      el("p", {}, `The connection to ${daemon.info?.node ?? "pe_stream"} is cut off: what is shown is not live. Trying again by itself. `,
        el("span.seconds", { aria: { hidden: "true" } })),
      el("button.quiet", { type: "button", testid: "retry", onclick: now }, "Try now")));
  }
  const left = Math.max(0, Math.ceil((connection.retryAt - Date.now()) / 1000));
  say(box().querySelector(".seconds"), connection.state === "waiting" && left ? `Next in ${left} s.` : "Connecting …");
  countdown = setTimeout(banner, 1000);
}
