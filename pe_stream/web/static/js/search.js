// Search what was heard: when did it sound like that? Or events: which were like that?

import { address, get } from "./api.js";
import { el, fill, icon } from "./dom.js";
import { daemon } from "./daemon.js";
import { link } from "./router.js";
import * as ofEvents from "./search_events.js";
import { duration, fullMoment, many, moment, score, spoken } from "./words.js";

const SPANS = [["1", "the last hour"], ["24", "the last day"], ["168", "the last week"]];
const HINT = "The moments that come nearest, also where they are not near: look at the scores. Sounds shorter than half a second score lower here than as a label.";
const HOUR_MS = 3_600_000;
/** A recording is played from so long before the moment on. */
const LEAD_S = 1;

export function view(box, { query }, ends) {
  const text = el("input", { id: "search-text", testid: "search-text", type: "search", required: true, maxlength: 500, autocomplete: "off", placeholder: "a kettle whistling", value: query.get("text") ?? "" });
  const source = el("select", { id: "search-source", testid: "search-source" },
    el("option", { value: "" }, "everywhere"), [...daemon.sources.keys()].map((name) => el("option", { value: name }, name)));
  const span = el("select", { id: "search-span", testid: "search-span" }, SPANS.map(([hours, words]) => el("option", { value: hours, selected: hours === "24" }, words)));
  const { search: heard, event_search: told } = daemon.info ?? {};
  const kind = el("select", { id: "search-kind", testid: "search-kind", onchange: describe },
    heard && el("option", { value: "heard" }, "sounds"), told && el("option", { value: "events" }, "events"));
  const question = el("label", { for: "search-text" });
  const hint = el("p.hint", { id: "search-hint" });
  const button = el("button.primary", { type: "submit", testid: "search-button" }, "Search");
  const problem = el("p.problem", { role: "alert", id: "search-problem", testid: "search-problem" });
  text.setAttribute("aria-describedby", "search-problem search-hint");
  const summed = el("p", { role: "status", testid: "search-told" });
  const more = el("div");
  const list = el("ol.stack", { testid: "search-results" });

  async function submit(event) {
    event.preventDefault();
    if (!text.value.trim()) return;
    problem.textContent = "";
    text.removeAttribute("aria-invalid");
    button.disabled = true;
    button.textContent = "Searching …";
    try {
      const since = new Date(Date.now() - Number(span.value) * HOUR_MS).toISOString();
      const ofMoments = kind.value === "heard";
      const found = await get(ofMoments ? "search" : "search/events", { text: text.value.trim(), source: source.value, since });
      if (ends.ended) return;
      summed.textContent = ofMoments ? summary(found) : ofEvents.summary(found);
      fill(more, ofMoments && el("a.button", { href: link("label", { text: found.text }), testid: "search-label" }, "Make it a label"));
      stopAll();
      fill(list, ofMoments ? found.moments.map(result) : found.events.map(ofEvents.result));
    } catch (error) {
      problem.textContent = error.status === 429 && error.retryAfterS ? `${error.message} Again in ${error.retryAfterS} s.` : error.message;
      text.setAttribute("aria-invalid", "true");
    } finally {
      button.disabled = false;
      button.textContent = "Search";
    }
  }

  function stopAll() {
    for (const player of list.querySelectorAll("audio")) player.pause();
  }
  ends.add(stopAll);

  /** Say what is searched, as chosen. */
  function describe() {
    const ofMoments = kind.value === "heard";
    question.textContent = ofMoments ? "What did it sound like?" : "What was it like?";
    hint.textContent = ofMoments ? HINT : ofEvents.HINT;
  }
  describe();

  fill(box, el("h1", {}, told && !heard ? "Search events" : "Search what was heard"));
  if (!heard && !told) {
    box.append(el("p.note", { testid: "search-off" }, "Nothing that was heard is kept. To search in it, set ",
      el("code", {}, "search.enabled: true"), " in the configuration and restart pe_stream. No sound is kept for it. With ",
      el("code", {}, "second_opinion"), ", events can be searched."));
    return "Search";
  }
  box.append(
    el("form.card.search-form", { onsubmit: submit, role: "search", "aria-label": "What was heard", data: { kinds: heard && told ? "both" : "one" } },
      el("div.labelled", {}, question, text),
      heard && told && el("div.labelled", {}, el("label", { for: "search-kind" }, "Among"), kind),
      el("div.labelled", {}, el("label", { for: "search-source" }, "Heard at"), source),
      el("div.labelled", {}, el("label", { for: "search-span" }, "In"), span), button),
    problem,
    hint, el("div.row.ends", {}, summed, more), list);
  return "Search";
}

function summary({ text, moments, searched_s: searched, left_out: leftOut }) {
  const others = leftOut.map(({ checkpoint, heard_s: heard }) => ` ${duration(heard)} that ${checkpoint} heard cannot be compared and was left out.`).join("");
  if (!searched) return `Nothing is kept of that time.${others}`;
  const best = moments.length ? `, the best scores ${score(moments[0].score)}` : "";
  return `“${text}” in ${duration(searched)} of sound: ${many(moments.length, "moment")}${best}.${others}`;
}

function result({ source, start, duration_s: length, score: best, event }) {
  const bar = el("span.fill");
  bar.style.transform = `scaleX(${best})`;
  const clip = event && event.clip_s !== null;
  const item = el("li.card.search-result", { testid: "search-result", data: { source, start } },
    el("div.row.ends", {},
      el("h2", {}, el("time", { datetime: start, title: fullMoment(start) }, moment(start)), el("span.muted", {}, ` at ${source}`)),
      el("span.peak", {}, el("span.hidden", {}, "score "), el("span.bar", { aria: { hidden: "true" } }, bar), el("span.figures", {}, score(best)))),
    el("p.row.small", {}, el("span.muted", {}, duration(length)),
      event ? "during" : "", event ? el("a.alone", { href: link("event", event.id), testid: "search-event" }, spoken(event.label)) : el("span.muted", {}, "no event then")));
  if (clip) {
    const player = el("audio", {
      controls: true, preload: "none", testid: "search-player",
      src: `${address(`events/${encodeURIComponent(event.id)}/clip`)}#t=${Math.max(0, event.clip_s - LEAD_S)}`,
      aria: { label: `Recording of ${spoken(event.label)} at ${fullMoment(start)}` },
    });
    player.addEventListener("error", () => player.replaceWith(el("p.note", {}, icon("warning"), " The recording cannot be played: it may have been deleted meanwhile.")));
    item.append(player);
  }
  return item;
}
