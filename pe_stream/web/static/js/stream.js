// The live stream: server-sent events, and what to do when they stop coming.

import { address, get } from "./api.js";
import { Signal } from "./signal.js";

/** health comes at least every 10 s: after this long without anything, the connection is dead. */
const SILENT_MS = 25_000;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;
/** A hidden page gives its place to other viewers after this long. */
const HIDDEN_MS = 60_000;

const KINDS = ["hello", "past", "hop", "event", "opinion", "health", "level", "rules", "labels"];

/** One signal per kind of message. */
export const on = Object.fromEntries(KINDS.map((kind) => [kind, new Signal()]));

/** "connecting", "open", "waiting" (with the moment of the next attempt) or "asleep". */
export const connection = { state: "connecting", retryAt: 0, since: Date.now(), changed: new Signal() };

let source = null;
let pause = FIRST_PAUSE_MS;
let retry = 0;
let watchdog = 0;
let hiddenTimer = 0;
let started = false;

export function start() {
  if (started) return;
  started = true;
  document.addEventListener("visibilitychange", visibility);
  addEventListener("online", now);
  open();
}

/** No more of it, as after a logout. */
export function stop() {
  started = false;
  document.removeEventListener("visibilitychange", visibility);
  removeEventListener("online", now);
  clearTimeout(hiddenTimer);
  close();
  become("asleep");
}

/** Try at once. */
export function now() {
  if (started && connection.state === "waiting") open();
}

function open() {
  close();
  become("connecting");
  source = new EventSource(address("live"));
  for (const kind of KINDS) source.addEventListener(kind, (message) => receive(kind, message));
  source.addEventListener("error", again);
  watch();
}

function close() {
  clearTimeout(retry);
  clearTimeout(watchdog);
  source?.close();
  source = null;
}

function receive(kind, message) {
  watch();
  if (kind === "hello") {
    pause = FIRST_PAUSE_MS;
    become("open");
  }
  on[kind].send(JSON.parse(message.data));
}

function watch() {
  clearTimeout(watchdog);
  watchdog = setTimeout(again, SILENT_MS);
}

/**
 * The browser retries by itself only after a break, not after a refusal, and does not say when; so
 * it is done here, with growing, jittered pauses.
 */
function again() {
  close();
  connection.retryAt = Date.now() + pause;
  become("waiting");
  const jittered = pause * (0.75 + Math.random() / 2);
  connection.retryAt = Date.now() + jittered;
  retry = setTimeout(open, jittered);
  pause = Math.min(pause * 1.7, LONGEST_PAUSE_MS);
  // A stream that is refused does not say why; this call shows the login where one is needed.
  get("info").catch(() => {});
}

function visibility() {
  clearTimeout(hiddenTimer);
  if (document.hidden) {
    hiddenTimer = setTimeout(() => { close(); become("asleep"); }, HIDDEN_MS);
  } else if (connection.state === "asleep" || connection.state === "waiting") {
    open();
  }
}

function become(state) {
  if (connection.state !== state) connection.since = Date.now();
  connection.state = state;
  connection.changed.send(connection);
}
