// A source: state, level, what it thinks it hears, spectrogram, a track per label.

import { el, fill, icon, say } from "../dom.js";
import { daemon, labelsAt } from "../daemon.js";
import { Ends } from "../signal.js";
import { link } from "../router.js";
import { on } from "../stream.js";
import { dbfs, moment, soundOf, STATES } from "../words.js";
import { heardAt, SHOWN } from "./heard.js";
import { listenButton } from "./listening.js";
import { meter } from "./meter.js";
import { spectrogram, ticks } from "./spectrogram.js";
import { topLabels } from "./top_labels.js";
import { track } from "./track.js";

/** More labels than this are shown only when asked for. */
const FEW = 12;
const SORT_EVERY_MS = 2500;

export class Panel {
  #source;
  #heard;
  #order;
  #tracks = [];
  #trackEnds = new Ends();
  #all = false;
  #sorted = 0;
  #badge = el("span.badge", { testid: "state" });
  #why = el("p.why", { hidden: true });
  #sound = el("p.sound", { testid: "sound", hidden: true });
  #list = el("ul.tracks", { testid: "tracks" });
  #more = el("button.quiet.more", { type: "button", testid: "all-labels" });
  #picture = el("div.picture");
  #meter;
  #level = el("span.figures.small.muted", { testid: "sound-level", title: "The last second: mean, A-weighted mean, and peak" });
  #top;

  /** @param {string} order "configured" or "loudest" */
  constructor(source, order, ends) {
    this.#source = source;
    this.#heard = heardAt(source);
    this.#order = order;
    this.#meter = meter(source);
    this.#top = topLabels(source, this.#heard);
    this.#more.addEventListener("click", () => { this.#all = !this.#all; this.#arrange(); });
    this.#list.setAttribute("aria-label", `Labels at ${source}`);
    const frequencies = el("div.frequencies", { aria: { hidden: "true" } });
    for (const { text, at } of ticks(daemon.bandsHz)) {
      const tick = el("span", {}, text);
      tick.style.top = `${at * 100}%`;
      frequencies.append(tick);
    }
    fill(this.#picture, frequencies, spectrogram(source, this.#heard, ends),
      el("div.times", { aria: { hidden: "true" } }, ["−30 s", "−20 s", "−10 s", "now"].map((text) => el("span", {}, text))));
    const heading = `source-${source}`;
    this.node = el("section.source.card", { testid: "source-panel", data: { source }, "aria-labelledby": heading },
      el("header", {}, el("h2", { id: heading }, source), this.#badge, this.#meter.node, this.#level, listenButton(source, ends)),
      this.#why, this.#sound, this.#top.node, this.#picture, this.#list, this.#more);
    ends.add(on.level.on((level) => { if (level.source === source) this.#measure(level); }),
      this.#heard.changed.on(() => this.hop()), () => this.#trackEnds.end());
    this.rebuild();
    this.state();
    this.hop();
  }

  /** Other labels than before, maybe. */
  rebuild() {
    const labels = labelsAt(this.#source);
    if (labels.join() !== this.#tracks.map((one) => one.label).join() || !labels.length) {
      this.#trackEnds.end();
      this.#trackEnds = new Ends();
      this.#tracks = labels.map((label) => track(label, this.#source, this.#heard, this.#trackEnds));
    }
    this.#arrange();
  }

  order(order) {
    this.#order = order;
    this.#arrange();
  }

  /** New frames have come. */
  hop() {
    this.#meter.show(this.#heard.end ? this.#heard.level : undefined);
    this.#top.hop(this.#tracks.map((one) => one.label));
    for (const one of this.#tracks) if (one.node.isConnected) one.hop();
    if (this.#order === "loudest" && performance.now() - this.#sorted > SORT_EVERY_MS) this.#arrange();
  }

  /** The source's state, in words and a sign. */
  state() {
    const source = daemon.sources.get(this.#source);
    const { word, more } = STATES[source.state] ?? { word: source.state, more: "" };
    if (this.#badge.dataset.state !== source.state) fill(this.#badge, icon(source.state in STATES ? source.state : "starting"), word);
    this.#badge.dataset.state = source.state;
    this.node.dataset.state = source.state;
    this.#why.hidden = source.state === "hearing";
    this.#why.textContent = `${more} Since ${moment(source.since)}.`;
    const sound = soundOf(source);
    this.#sound.hidden = !sound;
    this.#sound.textContent = sound && `Heard with ${sound}.`;
    // Without a sound for the last half minute there is nothing to draw.
    const nothing = source.state === "lost" && this.#heard.end === 0;
    this.#picture.hidden = nothing;
    this.#list.hidden = nothing;
    this.#more.hidden = nothing || this.#tracks.length <= FEW;
    if (source.state === "lost") {
      this.#meter.show(undefined);
      this.#measure(null);
    }
  }

  /** The level of the last second; null where there is none. */
  #measure(level) {
    say(this.#level, level ? `${dbfs(level.mean_dbfs)}, ${Math.round(level.a_mean_dbfs)} A-weighted, peak ${Math.round(level.peak_dbfs)}` : "");
  }

  #arrange() {
    this.#sorted = performance.now();
    // Nothing moves under someone's hands.
    if (this.#list.matches(":focus-within, :hover") && this.#list.childElementCount && this.#order === "loudest"
      && this.#list.dataset.order === "loudest" && this.#list.dataset.all === String(this.#all)) return;
    this.#list.dataset.order = this.#order;
    this.#list.dataset.all = String(this.#all);
    const tracks = [...this.#tracks];
    if (this.#order === "loudest") {
      const height = new Map(tracks.map((one) => [one, this.#heard.highest(one.label, SHOWN / 3)]));
      tracks.sort((a, b) => (height.get(b) ?? 0) - (height.get(a) ?? 0));
    }
    const shown = this.#all ? tracks : tracks.slice(0, FEW);
    const nodes = shown.map((one) => one.node);
    if (nodes.length !== this.#list.children.length || nodes.some((node, i) => node !== this.#list.children[i])) fill(this.#list, nodes);
    if (!tracks.length) {
      fill(this.#list, el("li.empty", {}, el("strong", {}, "No labels"), "Nothing is listened for here. ",
        el("a", { href: link("labels") }, "To the labels")));
    }
    this.#more.hidden = tracks.length <= FEW;
    this.#more.setAttribute("aria-expanded", String(this.#all));
    this.#more.textContent = this.#all ? "Show fewer labels" : `Show all ${tracks.length} labels`;
  }
}
