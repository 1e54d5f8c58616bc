// Start, session, and which view is shown.

import { get, remove, whenLoginIsNeeded } from "./api.js";
import { byId, el, fill } from "./dom.js";
import { view as event } from "./event.js";
import { view as events } from "./events/view.js";
import { view as health } from "./health.js";
import * as daemon from "./daemon.js";
import { view as calibrate } from "./labels/calibrate.js";
import { view as editLabel } from "./labels/edit.js";
import { view as labels } from "./labels/list.js";
import { view as live } from "./live/view.js";
import { view as login } from "./login.js";
import { view as lost } from "./not_found.js";
import { link, place } from "./router.js";
import { view as search } from "./search.js";
import * as shell from "./shell.js";
import { Ends } from "./signal.js";
import * as stream from "./stream.js";
import { failed } from "./toasts.js";
import { view as tryPrompt } from "./try.js";

/**
 * A view: `(main, place, ends) => title`. It fills `main`, adds to `ends` what must stop when it is
 * left, and returns (a promise of) its title.
 */
const VIEWS = { live, events, event, labels, label: editLabel, calibrate, try: tryPrompt, search, health };

const main = byId("main");
let ends = new Ends();
let loggedIn = false;
let atDoor = false;
/** The address of what is shown, and whether something was typed there since. */
let shown = "";
let typed = false;

async function start() {
  shell.build({ onLogout: logout });
  whenLoginIsNeeded(showLogin);
  addEventListener("hashchange", () => { if (loggedIn) show(true); });
  main.addEventListener("input", () => { typed = true; });
  byId("skip").addEventListener("click", (click) => {
    click.preventDefault(); // the hash is the route
    main.focus();
  });
  try {
    const session = await get("session");
    shell.session(session);
    if (session.required && !session.authenticated) showLogin();
    else await enter();
  } catch (error) {
    cannotStart(error);
  }
}

async function enter() {
  await daemon.load();
  loggedIn = true;
  stream.start();
  shell.ready();
  await show(false);
}

/** @param {boolean} moved by a link: the focus then goes to what is new */
async function show(moved) {
  const here = place();
  if (here.parts.length === 0) {
    history.replaceState(null, "", link("live"));
    here.parts = ["live"];
  }
  const [name] = here.parts;
  const view = Object.hasOwn(VIEWS, name) ? VIEWS[name] : lost;
  await display(view, here, moved);
  shell.current(name);
}

async function display(view, here, moved) {
  ends.end();
  const mine = new Ends();
  ends = mine;
  const box = el("div.view");
  fill(main, box);
  shown = location.hash;
  typed = false;
  scrollTo(0, 0);
  shell.title("…");
  let title;
  try {
    title = await view(box, here, mine);
  } catch (error) {
    if (mine.ended || error.status === 401) return; // it is shown again after the login
    console.error(error);
    title = "Error";
    fill(box, el("h1", {}, "This did not work"), el("p", {}, error.message), again());
  }
  if (mine.ended) return;
  shell.title(title);
  if (moved) main.focus({ preventScroll: true });
}

function showLogin() {
  if (atDoor) return; // several calls may have been refused at once, and someone may be typing already
  atDoor = true;
  stream.stop();
  shell.session({ required: true, authenticated: false });
  if (loggedIn) {
    loggedIn = false;
    askAgain();
    return;
  }
  display((box, here, mine) => login(box, mine, async (session) => {
    atDoor = false;
    shell.session(session);
    await enter();
  }), place(), false);
}

/** The session has ended while the page was in use: what is typed in it stays, out of sight. */
function askAgain() {
  const mine = new Ends();
  const box = el("div.view");
  const dialog = el("dialog.door", {
    testid: "door", aria: { label: "Log in again" },
    oncancel: (escape) => escape.preventDefault(),
    onclose: () => { if (atDoor) dialog.showModal(); }, // a browser lets the second Escape through
  }, box);
  document.body.append(dialog);
  dialog.showModal();
  login(box, mine, async (session) => {
    await daemon.load();
    atDoor = false;
    loggedIn = true;
    mine.end();
    dialog.close();
    dialog.remove();
    shell.session(session);
    stream.start();
    shell.ready();
    if (!typed || location.hash !== shown) await show(false);
  }, "You were logged out meanwhile. What was typed here is kept.");
}

/** The stream ends with its session; it is let go before, or its end would ask to log in again. */
async function logout() {
  stream.stop();
  loggedIn = false;
  try {
    shell.session(await remove("session"));
    showLogin();
  } catch (error) {
    if (atDoor) return; // whoever was told so meanwhile is logged out
    loggedIn = true;
    stream.start();
    failed(error, "Not logged out");
  }
}

function cannotStart(error) {
  shell.title("Not reached");
  const box = el("div.view", {},
    el("h1", {}, "pe_stream does not answer"), el("p", {}, error.message), again());
  fill(main, box);
}

const again = () =>
  el("button.primary", { type: "button", onclick: () => location.reload() }, "Try again");

start();
