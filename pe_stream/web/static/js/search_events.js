// Events that were found by words: by second opinions on what was heard and seen.

import { el } from "./dom.js";
import { link } from "./router.js";
import { duration, fullMoment, many, moment, score, spoken } from "./words.js";

export const HINT = "The events whose sound or picture comes nearest, also where they are not near, by second opinions on them. Scores are not calibrated: compare them with each other. The first search takes seconds.";

const PARTS = [["sound", "sound"], ["picture", "picture"], ["both", "sound and picture"]];

export function summary({ text, searched, events, left_out: leftOut }) {
  const others = leftOut.map(({ checkpoint, events: count }) => ` ${many(count, "event")} that ${checkpoint} gave an opinion on cannot be compared and ${count === 1 ? "was" : "were"} left out.`).join("");
  if (!searched) return `No event of that time has a second opinion to search it by.${others}`;
  const best = events.length ? `, the best scores ${score(events[0].score)}` : "";
  return `“${text}” among ${many(searched, "event")}${best}.${others}`;
}

export function result(found) {
  const { event } = found;
  const bar = el("span.fill");
  bar.style.transform = `scaleX(${found.score})`;
  const parts = PARTS.filter(([key]) => found[key] !== null).map(([key, words]) => `${words} ${score(found[key])}`);
  return el("li.card.search-result", { testid: "search-event-result", data: { id: event.id, source: event.source } },
    el("div.row.ends", {},
      el("h2", {}, el("a", { href: link("event", event.id) }, spoken(event.label)), el("span.muted", {}, " "),
        el("time.muted", { datetime: event.onset, title: fullMoment(event.onset) }, moment(event.onset)), el("span.muted", {}, ` at ${event.source}`)),
      el("span.peak", {}, el("span.hidden", {}, "score "), el("span.bar", { aria: { hidden: "true" } }, bar), el("span.figures", {}, score(found.score)))),
    el("p.row.small", {}, el("span.muted", {}, duration(event.duration_s)), el("span", { testid: "search-parts" }, `${parts.join(", ")} (uncalibrated)`)));
}
