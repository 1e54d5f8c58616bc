// The test tone on the health page: play it, wait for it in every source's live bands, say what came.

import { el, fill, icon } from "./dom.js";
import { daemon } from "./daemon.js";
import { BANDS, FRAME_MS, heardAt, KEPT } from "./live/heard.js";
import { on } from "./stream.js";
import { failed } from "./toasts.js";
import { playTone, tonePattern, TONE_HZ } from "./tone.js";
import { bandOf, findPattern, toDb } from "./tone_detect.js";

const LISTEN_MS = 8000;
/** What is heard before the tone belongs to the pattern; a source that delivers nothing is not waited for. */
const BEFORE_FRAMES = 25;
const BEFORE_MS = 10_000;

export function toneTest(ends) {
  const results = el("ul.tone-results", { testid: "tone-results" });
  const button = el("button.primary", { type: "button", testid: "tone", onclick: run }, "Play the test tone");
  let running = null;

  async function run() {
    button.disabled = true;
    fill(results, el("li", {}, "Three beeps, then eight seconds of listening …"));
    try {
      const listening = new Map([...daemon.sources.keys()].map((source) => [source, listenTo(source)]));
      running = listening;
      await quietBefore(listening);
      const played = await playTone();
      await new Promise((done) => { setTimeout(done, LISTEN_MS); });
      if (!ends.ended) fill(results, [...listening].map(([source, listener]) => line(source, judge(listener, played))));
    } catch (error) {
      fill(results);
      failed(error, "The tone could not be played");
    } finally {
      stop();
      button.disabled = false;
    }
  }

  function stop() {
    for (const { end } of running?.values() ?? []) end();
    running = null;
  }

  ends.add(stop);
  return el("section.card.stack", { "aria-labelledby": "tone" }, el("h2", { id: "tone" }, "Test tone"),
    el("p.muted", {}, "Plays three beeps on this device and looks for them in what each source hears. Turn its volume up and hold it near a microphone."),
    el("div", {}, button), el("div", { role: "status" }, results));
}

/**
 * Collect levels of the tone's band, and when they came. Clocks of this device and of the daemon may
 * differ, so only this device's counts.
 */
function listenTo(source) {
  const heard = heardAt(source);
  const levels = [];
  const arrivals = [];
  const end = on.hop.on((hop) => {
    const band = bandOf(daemon.bandsHz, TONE_HZ); // known once the stream has begun
    if (hop.source !== source || band < 0) return;
    // The tone may lie on the edge of its band, so the louder neighbour counts too.
    const near = [band - 1, band, band + 1].filter((one) => one >= 0 && one < BANDS);
    const count = hop.scores.length;
    for (let n = heard.end - count; n < heard.end; n += 1) {
      levels.push(Math.max(...near.map((one) => toDb(heard.bands[(n % KEPT) * BANDS + one]))));
      arrivals.push(performance.now());
    }
  });
  return { levels, arrivals, end };
}

async function quietBefore(listening) {
  const enough = () => [...listening.values()].every(({ levels }) => levels.length >= BEFORE_FRAMES);
  const pause = () => new Promise((done) => { setTimeout(done, 100); });
  const since = performance.now();
  // eslint-disable-next-line no-await-in-loop -- it waits, one pause after the other
  while (!enough() && performance.now() - since < BEFORE_MS) await pause();
}

function judge({ levels, arrivals }, played) {
  const { pattern, lead } = tonePattern(FRAME_MS / 1000);
  const found = findPattern(levels, pattern);
  const came = arrivals[found.at + lead];
  return { ...found, nothing: !levels.length, afterS: found.at < 0 ? null : (came - played) / 1000 };
}

function line(source, { heard, aboveDb, afterS, nothing }) {
  const words = heard ? `heard, ${Math.round(aboveDb)} dB above the background, after ${Math.max(0, afterS).toFixed(1)} s`
    : nothing ? "not heard: nothing at all comes from it" : "not heard";
  return el("li", { data: { source, heard: String(heard) }, class: heard ? "heard" : "not-heard" },
    icon(heard ? "right" : "wrong"), el("span", {}, el("strong", {}, source), `: ${words}`));
}
