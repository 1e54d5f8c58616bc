// Health: what each source really heard, broker, store, checkpoint, and a test tone.

import { el, fill, icon } from "./dom.js";
import { changed, daemon, loadInfo } from "./daemon.js";
import { toneTest } from "./tone_test.js";
import { dbfs, duration, many, moment, STATES } from "./words.js";

const REFRESH_MS = 10_000;

export function view(box, place, ends) {
  const body = el("tbody");
  const facts = el("div.facts-row", { testid: "facts" });

  const showSources = () => {
    fill(body, [...daemon.sources.values()].map(row));
    if (!daemon.sources.size) fill(body, el("tr", {}, el("td.empty", { colspan: 8 }, "The configuration names no sources.")));
  };
  const showFacts = () => fill(facts, factCards(daemon.info));

  fill(box, el("h1", {}, "Health"), facts,
    el("section.card.stack", { "aria-labelledby": "sources" }, el("h2", { id: "sources" }, "Sources since the start"),
      el("div.table-wrap", {}, el("table.health-table", { testid: "health", "aria-labelledby": "sources" },
        el("thead", {}, el("tr", {}, ["Source", "State", "Heard", "Flat", "Lost", "Clipped", "Level", "Load"].map((text) => el("th", { scope: "col" }, text)))), body))),
    toneTest(ends));
  showSources();
  showFacts();
  const refresh = setInterval(() => { if (!document.hidden) loadInfo().catch(() => {}); }, REFRESH_MS);
  loadInfo().catch(() => {}); // the banner says when it is not reached
  ends.add(changed.sources.on(showSources), changed.info.on(showFacts), () => clearInterval(refresh));
  return "Health";
}

function row(source) {
  // Heard includes flat; together with lost it is all the time there was.
  const all = source.heard_s + source.lost_s;
  const part = (seconds) => {
    if (!all) return "–";
    const percent = (seconds / all) * 100;
    return seconds > 0 && percent < 0.1 ? "less than 0.1 %" : `${Number(percent.toFixed(1))} %`;
  };
  const cell = (head, seconds, extra = null) => el("td", { data: { head } }, seconds ? duration(seconds) : "none", seconds > 0 && el("span.small", {}, part(seconds)), extra);
  const { word, more } = STATES[source.state] ?? { word: source.state, more: "" };
  return el("tr", { testid: "health-row", data: { source: source.name } },
    el("th", { scope: "row" }, source.name, bar(source, all)),
    el("td.wide", { data: { head: "State" } }, el("span.badge", { data: { state: source.state }, title: more }, icon(source.state in STATES ? source.state : "starting"), word),
      el("span.small", {}, `since ${moment(source.since)}`),
      source.breaks_per_minute > 1 && el("span.small", {}, `breaks off ${source.breaks_per_minute} times a minute`),
      source.engine !== "ok" && el("span.small", { title: source.engine }, `waits for the engine, for ${duration(source.engine_away_s)}`),
      source.second_opinion !== null && source.second_opinion !== "ok" && el("span.small", { title: source.second_opinion }, "no second opinions at present"),
      source.picture !== null && source.picture !== "ok" && el("span.small", { title: source.picture }, "no picture at present")),
    cell("Heard", source.heard_s), cell("Flat", source.flat_s), cell("Lost", source.lost_s), cell("Clipped", source.clipped_s),
    el("td", { data: { head: "Level" } }, source.state === "lost" ? "–" : dbfs(source.level_dbfs),
      source.state !== "lost" && source.sound_level && el("span.small", {}, `${Math.round(source.sound_level.a_mean_dbfs)} A-weighted, peak ${Math.round(source.sound_level.peak_dbfs)}`)),
    el("td", { data: { head: "Load" } }, source.rtf === null ? "–" : `${Number((source.rtf * 100).toFixed(1))} %`,
      source.rtf !== null && el("span.small", {}, "of real time")));
}

/** Shares at a glance; the cells beside it have the same in words. */
function bar({ heard_s: heard, flat_s: flat, lost_s: lost }, all) {
  const parts = [["heard", Math.max(0, heard - flat)], ["flat", Math.min(heard, flat)], ["lost", lost]];
  return el("span.share", { aria: { hidden: "true" } }, parts.map(([name, seconds]) => {
    const piece = el(`span.${name}`);
    piece.style.width = `${all ? (seconds / all) * 100 : 0}%`;
    return piece;
  }));
}

function factCards(info) {
  const { broker } = info;
  const store = info.store === null ? ["none", "Events are not kept on disk."]
    : info.store === "ok" ? ["works", info.history ? "Events and scores are kept." : "Events are kept, scores are not."]
      : ["has a problem", info.store];
  const cards = [
    ["Broker", broker.connected ? "connected" : "not connected", broker.waiting ? `${many(broker.waiting, "message")} waiting.` : "Nothing waits.", broker.connected],
    ["Store", ...store, info.store === "ok" || info.store === null],
    ...(info.resources === "ok" ? [] : [["Resources", "run out", info.resources, false]]),
    ["Checkpoint", info.checkpoint, `pe_stream ${info.version}`, true],
    ["Configuration", info.config.writable ? "can be changed here" : "cannot be changed here", info.config.writable ? info.config.path : info.config.reason, true],
  ];
  return cards.map(([title, state, more, good]) => el("section.card", { data: { good: String(good) } },
    el("h2", {}, title), el("p", {}, !good && icon("warning"), !good && " ", state), el("p.muted.small", {}, more)));
}
