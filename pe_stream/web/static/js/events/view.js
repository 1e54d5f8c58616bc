// Events of the past: filters, when they were, the list.

import { address, get } from "../api.js";
import { el, fill } from "../dom.js";
import { rewrite } from "../router.js";
import { connection, on } from "../stream.js";
import { failed } from "../toasts.js";
import { spoken } from "../words.js";
import { filterForm, fromQuery, lets } from "./filters.js";
import { EventRow, isOlder } from "./row.js";
import { When } from "./when.js";

const PAGE = 50;
/** Histograms follow new events at this pace. */
const RECOUNT_MS = 5000;

export function view(box, place, ends) {
  let filter = fromQuery(place.query);
  let next = null;
  let asked = 0;
  let recount = 0;
  /** @type {Map<string, EventRow>} */
  const rows = new Map();
  const form = filterForm(filter, change);
  const when = new When((since, until) => {
    const narrowed = { ...filter, since, until };
    form.write(narrowed);
    change(narrowed);
  });
  const problem = el("p.note", { hidden: true, role: "status" });
  const list = el("ol.event-list.wide", { testid: "events" });
  const nothing = el("div.empty", { hidden: true, testid: "no-events" });
  const more = el("button", { type: "button", testid: "load-more", hidden: true, onclick: () => load(true) }, "Load more");
  const told = el("p.hidden", { aria: { live: "polite" } });

  fill(box,
    el("div.row.ends", {}, el("h1", {}, "Events"),
      el("div.row", {}, el("span.muted.small", {}, "Marks, for tuning:"),
        el("a.alone", { href: address("verdicts", { format: "csv" }), download: true }, "CSV"),
        el("a.alone", { href: address("verdicts", { format: "jsonl" }), download: true }, "JSON lines"))),
    form.node, problem, when.node,
    el("section.card", { "aria-label": "List of events" }, list, nothing, more, told));

  function change(to) {
    filter = to;
    rewrite("events", filter);
    load(false);
    count();
  }

  async function load(isMore) {
    asked += 1;
    const mine = asked;
    more.disabled = true;
    try {
      const page = await get("events", { ...filter, limit: PAGE, before: isMore ? next : "" });
      if (mine !== asked) return;
      const from = list.children.length;
      if (!isMore) clear();
      for (const entry of page.events) add(entry, false);
      next = page.next;
      // The button may be gone: the focus goes on with the list.
      if (isMore && !next) list.children[from]?.querySelector("a")?.focus();
      problem.hidden = true;
      empty();
    } catch (error) {
      if (mine !== asked) return;
      problem.hidden = false;
      problem.textContent = error.message;
      empty();
    } finally {
      if (mine === asked) {
        more.disabled = false;
        more.hidden = next === null;
      }
    }
  }

  function clear() {
    rows.clear();
    fill(list);
    next = null;
  }

  function empty() {
    nothing.hidden = rows.size > 0;
    const filtered = Object.values(filter).some(Boolean);
    fill(nothing, el("strong", {}, filtered ? "Nothing like that" : "No events yet"),
      filtered ? "No event passes these filters." : "They appear here as they are heard.");
  }

  function add(entry, isNew) {
    const known = rows.get(entry.id);
    if (known) {
      known.take(entry);
      return;
    }
    const row = new EventRow(entry);
    rows.set(entry.id, row);
    if (!isNew) {
      list.append(row.node);
      return;
    }
    const after = [...list.children].find((child) => isOlder(rows, child, entry));
    list.insertBefore(row.node, after ?? null);
    row.node.classList.add("is-new");
    nothing.hidden = true;
    told.textContent = `New: ${spoken(entry.label)} at ${entry.source}`;
    recount ||= setTimeout(count, RECOUNT_MS);
  }

  async function count() {
    clearTimeout(recount);
    recount = 0;
    try {
      await when.load(filter);
    } catch (error) {
      // The list already says that there is no store.
      if (![404, 409, 503].includes(error.status)) failed(error, "Events could not be counted");
    }
  }

  load(false);
  count();
  let wasOpen = true;
  ends.add(
    on.event.on((event) => {
      if (rows.has(event.id) || (event.phase === "start" && lets(filter, event))) add(event, true);
    }),
    connection.changed.on(({ state }) => {
      if (state === "open" && !wasOpen) { load(false); count(); }
      wasOpen = state === "open";
    }),
    () => clearTimeout(recount),
  );
  return filter.label ? `Events: ${spoken(filter.label)}` : "Events";
}

