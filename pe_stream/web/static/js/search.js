// Search what was heard: when did it sound like that?

import { address, get } from "./api.js";
import { el, fill, icon } from "./dom.js";
import { daemon } from "./daemon.js";
import { link } from "./router.js";
import { duration, fullMoment, many, moment, score, spoken } from "./words.js";

const SPANS = [["1", "the last hour"], ["24", "the last day"], ["168", "the last week"]];
const HOUR_MS = 3_600_000;
/** A recording is played from so long before the moment on. */
const LEAD_S = 1;

export function view(box, { query }, ends) {
  const text = el("input", { id: "search-text", testid: "search-text", type: "search", required: true, maxlength: 500, autocomplete: "off", placeholder: "a kettle whistling", value: query.get("text") ?? "" });
  const source = el("select", { id: "search-source", testid: "search-source" },
    el("option", { value: "" }, "everywhere"), [...daemon.sources.keys()].map((name) => el("option", { value: name }, name)));
  const span = el("select", { id: "search-span", testid: "search-span" }, SPANS.map(([hours, words]) => el("option", { value: hours, selected: hours === "24" }, words)));
  const button = el("button.primary", { type: "submit", testid: "search-button" }, "Search");
  const problem = el("p.problem", { role: "alert", id: "search-problem", testid: "search-problem" });
  text.setAttribute("aria-describedby", "search-problem search-hint");
  const told = el("p", { role: "status", testid: "search-told" });
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
      const found = await get("search", { text: text.value.trim(), source: source.value, since });
      if (ends.ended) return;
      told.textContent = summary(found);
      fill(more, el("a.button", { href: link("label", { text: found.text }), testid: "search-label" }, "Make it a label"));
      stopAll();
      fill(list, found.moments.map(result));
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

  fill(box, el("h1", {}, "Search what was heard"));
  if (!daemon.info?.search) {
    box.append(el("p.note", { testid: "search-off" }, "Nothing that was heard is kept. To search in it, set ",
      el("code", {}, "search.enabled: true"), " in the configuration and restart pe_stream. No sound is kept for it."));
    return "Search";
  }
  box.append(
    el("form.card.search-form", { onsubmit: submit, role: "search", "aria-label": "What was heard" },
      el("div.labelled", {}, el("label", { for: "search-text" }, "What did it sound like?"), text),
      el("div.labelled", {}, el("label", { for: "search-source" }, "Heard at"), source),
      el("div.labelled", {}, el("label", { for: "search-span" }, "In"), span), button),
    problem,
    el("p.hint", { id: "search-hint" }, "The moments that come nearest, also where they are not near: look at the scores. Sounds shorter than half a second score lower here than as a label."),
    el("div.row.ends", {}, told, more), list);
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
