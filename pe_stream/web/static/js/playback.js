// An event's spectrogram and score on one time axis, with the player's place moving over both.

import { el, pen } from "./dom.js";
import { sharp } from "./live/painting.js";
import { drawScores, smoothed } from "./score_plot.js";
import { onTheme } from "./theme.js";
import { score, spoken } from "./words.js";

const TICKS = 6;

export class Playback {
  #entry;
  #scores;
  #player;
  #image;
  #picture;
  #cursor = el("div.cursor", { hidden: true, testid: "cursor" });
  /** Seconds from the onset: what is shown, and where the clip lies. */
  #from;
  #to;
  /** @type {number|null} */
  #clipFrom = null;
  #asked = 0;

  /**
   * @param {object} entry
   * @param {object|null} scores as the API has them
   * @param {HTMLAudioElement|null} player
   * @param {HTMLImageElement|null} image of the whole clip
   */
  constructor(entry, scores, player, image, ends) {
    this.#entry = entry;
    this.#scores = scores;
    this.#player = player;
    this.#image = image;
    const start = scores ? (Date.parse(scores.start) - Date.parse(entry.onset)) / 1000 : -4;
    this.#from = start;
    this.#to = scores ? start + scores.scores.length * scores.frame_s : entry.duration_s + 4;
    this.#picture = image && el("div.aligned", {}, image);
    this.node = el("div.stack", {}, this.#draw(ends), this.#axis());
    if (player) {
      player.addEventListener("loadedmetadata", () => this.#align());
      for (const kind of ["play", "seeked", "timeupdate", "pause"]) player.addEventListener(kind, () => this.#follow());
      ends.add(() => cancelAnimationFrame(this.#asked));
    }
  }

  #at(seconds) {
    return ((seconds - this.#from) / (this.#to - this.#from)) * 100;
  }

  #draw(ends) {
    const timed = el("div.timed", { testid: "event-track", onclick: (click) => this.#seek(click, timed) }, this.#picture);
    if (this.#scores) {
      const { label, scores, threshold } = this.#scores;
      const known = scores.filter((one) => one !== null);
      const canvas = el("canvas", {
        role: "img", aria: { label: `Score of ${spoken(label)} from ${Math.round(-this.#from)} seconds before the onset on: `
          + `highest ${score(Math.max(0, ...known))}, threshold ${score(threshold)}` },
      });
      timed.append(canvas);
      let [width, height] = [0, 0];
      const paint = () => { if (width) this.#paint(canvas, width, height); };
      ends.add(sharp(canvas, (...size) => { [width, height] = size; paint(); }), onTheme(paint));
    }
    for (const seconds of [0, this.#entry.offset ? this.#entry.duration_s : null]) {
      if (seconds === null) continue;
      const edge = el("div.edge");
      edge.style.left = `${this.#at(seconds)}%`;
      timed.append(edge);
    }
    timed.append(this.#cursor);
    return timed;
  }

  #paint(canvas, width, height) {
    const { scores, frame_s: frame, threshold, off_threshold: offThreshold, smooth_s: over } = this.#scores;
    drawScores(pen(canvas), {
      width, height, from: 0, to: scores.length, threshold, offThreshold,
      scoreAt: smoothed((n) => scores[n] ?? NaN, over),
      events: [{ from: -this.#from / frame, to: (this.#entry.duration_s - this.#from) / frame }],
    });
  }

  #axis() {
    const axis = el("div.axis", { aria: { hidden: "true" } });
    const step = [1, 2, 5, 10, 15, 30, 60].find((one) => (this.#to - this.#from) / one <= TICKS + 1) ?? 120;
    for (let at = Math.ceil(this.#from / step) * step; at <= this.#to; at += step) {
      const tick = el("span", {}, at === 0 ? "onset" : `${at > 0 ? "+" : "−"}${Math.abs(at)} s`);
      tick.style.left = `${Math.min(100, Math.max(0, this.#at(at)))}%`;
      axis.append(tick);
    }
    return axis;
  }

  /** Put the picture under its seconds. The event is in the middle of its clip, as far as one can know. */
  #align() {
    const { clip_start: start, onset, duration_s: lasted } = this.#entry;
    let length = this.#player?.duration ?? NaN;
    if (start) this.#clipFrom = (Date.parse(start) - Date.parse(onset)) / 1000;
    else if (Number.isFinite(length)) this.#clipFrom = -Math.max(0, (length - lasted) / 2);
    else return;
    // Some files do not tell their length before they were played.
    if (!Number.isFinite(length)) length = lasted - 2 * this.#clipFrom;
    if (this.#image) {
      this.#image.style.left = `${this.#at(this.#clipFrom)}%`;
      this.#image.style.width = `${(length / (this.#to - this.#from)) * 100}%`;
    }
    this.#follow();
  }

  #follow() {
    cancelAnimationFrame(this.#asked);
    const player = this.#player;
    if (!player || this.#clipFrom === null) return;
    this.#cursor.hidden = false;
    this.#cursor.style.left = `${this.#at(this.#clipFrom + player.currentTime)}%`;
    if (!player.paused) this.#asked = requestAnimationFrame(() => this.#follow());
  }

  #seek(click, timed) {
    if (!this.#player || this.#clipFrom === null) return;
    const part = (click.clientX - timed.getBoundingClientRect().left) / timed.clientWidth;
    const seconds = this.#from + part * (this.#to - this.#from) - this.#clipFrom;
    this.#player.currentTime = Math.max(0, seconds);
  }
}

