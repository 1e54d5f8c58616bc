// One event: what is known of it, its sound, its score, and whether it was right.

import { address, get } from "./api.js";
import { el, fill, icon } from "./dom.js";
import { exampleForm } from "./example.js";
import { notFound } from "./not_found.js";
import { Playback } from "./playback.js";
import { link } from "./router.js";
import { on } from "./stream.js";
import { verdictForm } from "./verdict.js";
import { duration, fullMoment, REASONS, score, spoken } from "./words.js";

/** Seconds of score around it: what a clip has, and a little; more where there is no clip. */
const AROUND_CLIP_S = 4;
const AROUND_S = 10;

export async function view(box, { parts }, ends) {
  const path = `events/${encodeURIComponent(parts[1] ?? "")}`;
  let entry;
  try {
    entry = await get(path);
  } catch (error) {
    if (error.status !== 404) throw error;
    return notFound(box, "There is no such event any more: events are forgotten after a while.");
  }
  const scores = await get(`${path}/scores`, { around_s: entry.has_clip ? AROUND_CLIP_S : AROUND_S }).catch((error) => {
    if (error.status === 404 || error.status === 409) return null;
    throw error;
  });
  if (ends.ended) return "";
  const facts = el("dl.facts", { testid: "facts" });
  const showFacts = () => fill(facts, factsOf(entry).flatMap(([name, ...value]) => [el("dt", {}, name), el("dd", {}, ...value)]));
  showFacts();
  fill(box,
    el("div.stack", {},
      neighbours(entry),
      el("h1", { testid: "event-title" }, spoken(entry.label), el("span.muted", {}, ` at ${entry.source}`))),
    el("div.event-page", {},
      el("div.stack", {}, sound(entry, path, scores, ends)),
      el("div.stack", {},
        verdictForm(entry, (after) => { entry = { ...entry, ...after }; }),
        entry.has_clip && exampleForm(entry),
        el("section.card.stack", { "aria-labelledby": "facts" }, el("h2", { id: "facts" }, "What is known"), facts,
          el("p", {}, el("a.alone", { href: link("label", entry.label) }, `Settings of ${spoken(entry.label)}`)),
          el("p", {}, el("a.alone", { href: link("events", { label: entry.label, source: entry.source }) }, "All like it"))))));
  const update = (event) => {
    if (event.id !== entry.id) return;
    entry = { ...entry, ...event };
    showFacts();
  };
  ends.add(on.event.on(update), on.opinion.on(update));
  return `${spoken(entry.label)} at ${entry.source}`;
}

function factsOf(entry) {
  const ended = entry.reason ? REASONS[entry.reason] ?? entry.reason : null;
  return [
    ["Began", el("time", { datetime: entry.onset }, fullMoment(entry.onset))],
    ["Lasted", entry.phase === "end" ? duration(entry.duration_s) : `${duration(entry.duration_s)} so far: it is on now`],
    ["Peak", `${score(entry.peak)} (mean ${score(entry.mean)})`],
    ["Threshold", score(entry.threshold)],
    ["Told after", entry.latency_ms === null || entry.latency_ms === undefined ? "–" : duration(entry.latency_ms / 1000)],
    ...(ended ? [["Ended", ended]] : []),
    ...(entry.late ? [["Late", "It was delivered to the broker only after an outage."]] : []),
    ["Checkpoint", entry.checkpoint],
    ...(entry.second_opinion ? [["Second opinion", ...opinion(entry.second_opinion)]] : []),
    ["Node", entry.node],
    ["Id", el("code.small", {}, entry.id)],
  ];
}

/** What another model makes of it, as figures that compare with nothing but their like. */
function opinion(told) {
  const figures = ["sound", "picture", "both", "together"].filter((name) => told[name] !== null)
    .map((name) => `${name} ${score(told[name])}`);
  return [
    el("span", { testid: "opinion" }, `${figures.join(", ") || "none"} (uncalibrated)`),
    el("span.small.muted", {}, `By ${told.checkpoint}, on ${duration(told.span_s[1] - told.span_s[0])} around the peak, in ${duration(told.took_ms / 1000)}.`),
  ];
}

function sound(entry, path, scores, ends) {
  const section = el("section.card.stack", { "aria-labelledby": "sound" }, el("h2", { id: "sound" }, "Sound and score"));
  const player = entry.has_clip
    && el("audio", { controls: true, preload: "metadata", src: address(`${path}/clip`), testid: "player", aria: { label: "Recording of this event" } });
  const image = entry.has_clip
    && el("img", {
      src: address(`${path}/spectrogram`), testid: "spectrogram",
      alt: `Spectrogram of the recording: ${spoken(entry.label)} for ${duration(entry.duration_s)} in its middle`,
    });
  if (player) {
    player.addEventListener("error", () => player.replaceWith(el("p.note", {}, "The recording cannot be played: it may have been deleted meanwhile.")));
    ends.add(() => player.pause());
  }
  if (image) image.addEventListener("error", () => image.parentElement?.remove());
  const playback = new Playback(entry, scores, player || null, image || null, ends);
  section.append(...[playback.node, player,
    !player && el("p.muted", {}, icon("clip"), " There is no recording of it."),
    !scores && el("p.muted", {}, "No scores are kept of that time."),
  ].filter(Boolean));
  return section;
}

function neighbours({ previous, following }) {
  const to = (id, text, testid) => (id ? el("a", { href: link("event", id), testid }, text) : el("span"));
  return el("nav.neighbours", { aria: { label: "Events before and after" } },
    to(previous, "← Before it", "previous"), to(following, "After it →", "following"));
}
