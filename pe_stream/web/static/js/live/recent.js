// The newest events, as they happen, beside the live picture.

import { get } from "../api.js";
import { el, fill } from "../dom.js";
import { EventRow, isOlder, rowId } from "../events/row.js";
import { link } from "../router.js";
import { connection, on } from "../stream.js";
import { spoken } from "../words.js";
import { heardAt } from "./heard.js";

const MOST = 15;
/** New events are read out together, not one by one. */
const TOLD_EVERY_MS = 4000;

export function recent(ends) {
  const list = el("ol.event-list", { testid: "recent" });
  const nothing = el("p.empty", { hidden: true });
  const spokenOut = el("p.hidden", { aria: { live: "polite" }, testid: "announcement" });
  const node = el("section.recent.card", { "aria-labelledby": "recent" },
    el("div.row.ends", {}, el("h2", { id: "recent" }, "Recent events"), el("a.alone", { href: link("events") }, "All events")),
    list, nothing, spokenOut);
  /** @type {Map<string, EventRow>} */
  const rows = new Map();
  let toTell = [];
  let timer = 0;

  function take(entry, isNew) {
    const row = rows.get(entry.id);
    if (row) {
      row.take(entry);
      return;
    }
    const made = new EventRow(entry);
    rows.set(entry.id, made);
    const after = [...list.children].find((child) => isOlder(rows, child, entry));
    list.insertBefore(made.node, after ?? null);
    for (const old of [...list.children].slice(MOST)) {
      rows.delete(rowId(old));
      old.remove();
    }
    nothing.hidden = true;
    if (isNew && made.node.isConnected) {
      made.node.classList.add("is-new");
      tell(entry);
    }
  }

  function tell(entry) {
    toTell.push(`${spoken(entry.label)} at ${entry.source}`);
    if (timer) return;
    const say = () => {
      timer = 0;
      if (!toTell.length) return;
      spokenOut.textContent = `Heard: ${toTell.slice(0, 3).join(", ")}${toTell.length > 3 ? ` and ${toTell.length - 3} more` : ""}`;
      toTell = [];
      timer = setTimeout(say, TOLD_EVERY_MS);
    };
    timer = setTimeout(say, 300);
  }

  async function load() {
    try {
      const { events } = await get("events", { limit: MOST });
      for (const entry of events) {
        take(entry, false);
        heardAt(entry.source).noteOld(entry);
      }
      empty("No events yet", "They appear here as they are heard.");
    } catch (error) {
      empty("No history", error.message);
    }
  }

  function empty(title, text) {
    nothing.hidden = rows.size > 0;
    fill(nothing, el("strong", {}, title), text);
  }

  let wasOpen = true;
  load();
  ends.add(
    on.event.on((event) => take(event, true)),
    connection.changed.on(({ state }) => {
      // What happened while the stream was cut off.
      if (state === "open" && !wasOpen) load();
      wasOpen = state === "open";
    }),
    () => clearTimeout(timer),
  );
  return node;
}
