// The rolling spectrogram of a source.
//
// A hidden canvas holds a pixel per frame and band, as a ring; new columns are written once, and
// every picture is at most two copies of it, scaled.

import { el, pen } from "../dom.js";
import { daemon } from "../daemon.js";
import { onTheme } from "../theme.js";
import { dbfs } from "../words.js";
import { colourMap } from "./colour_map.js";
import { BANDS, DRAWN, KEPT, SHOWN } from "./heard.js";
import { painting, repaint, roll, sharp } from "./painting.js";

const WORDS_EVERY_MS = 5000;

/** @param {string} source @param {import("./heard.js").Heard} heard */
export function spectrogram(source, heard, ends) {
  const canvas = el("canvas.spectrogram", { role: "img", testid: "spectrogram", aria: { label: `Spectrogram of ${source}` } });
  const ring = el("canvas", { width: KEPT, height: BANDS });
  const pixels = pen(ring);
  const context = pen(canvas);
  let map = colourMap();
  let written = 0;
  let size = [0, 0];
  let shown = -1;
  let worded = -Infinity;

  function redraw() {
    shown = -1;
    repaint();
  }

  function write() {
    let n = Math.max(written, heard.end - KEPT);
    while (n < heard.end) {
      // Up to the end of the ring, then from its beginning.
      const count = Math.min(heard.end - n, KEPT - (n % KEPT));
      const image = pixels.createImageData(count, BANDS);
      for (let i = 0; i < count; i += 1) column(image, i, count, (n + i) % KEPT);
      pixels.putImageData(image, n % KEPT, 0);
      n += count;
    }
    written = heard.end;
  }

  /** Frequencies rise upwards. A frame that never came is silence here; the tracks show gaps. */
  function column(image, x, width, at) {
    for (let band = 0; band < BANDS; band += 1) {
      const colour = heard.bands[at * BANDS + band] * 4;
      const to = ((BANDS - 1 - band) * width + x) * 4;
      for (let i = 0; i < 4; i += 1) image.data[to + i] = map[colour + i];
    }
  }

  function paint(now) {
    if (now - worded > WORDS_EVERY_MS) { worded = now; words(); }
    if (shown === heard.end || !size[0]) return;
    shown = heard.end;
    const [width, height] = size;
    const perFrame = width / DRAWN;
    roll(canvas, heard.lag(now), perFrame);
    if (written > heard.end) written = 0;
    write();
    const from = Math.max(heard.end - DRAWN, heard.first);
    context.fillStyle = `rgb(${map[0]} ${map[1]} ${map[2]})`;
    context.fillRect(0, 0, width, height);
    for (let n = from; n < heard.end;) {
      const count = Math.min(heard.end - n, KEPT - (n % KEPT));
      context.drawImage(ring, n % KEPT, 0, count, BANDS, (n - heard.end + DRAWN) * perFrame, 0, count * perFrame, height);
      n += count;
    }
  }

  function words() {
    const level = heard.level;
    const sum = new Float64Array(BANDS);
    for (let n = Math.max(heard.first, heard.end - SHOWN); n < heard.end; n += 1) {
      for (let band = 0; band < BANDS; band += 1) sum[band] += heard.bands[(n % KEPT) * BANDS + band];
    }
    const strongest = sum.indexOf(Math.max(...sum));
    const hz = daemon.bandsHz[strongest + 1];
    canvas.setAttribute("aria-label", heard.end === 0 || !hz ? `Spectrogram of ${source}: nothing yet`
      : `Spectrogram of ${source}, the last 30 seconds. Level now ${dbfs(level)}, most sound near ${Math.round(hz)} Hz`);
  }

  ends.add(
    sharp(canvas, (width, height) => { size = [width, height]; redraw(); }),
    onTheme(() => { map = colourMap(); written = 0; redraw(); }),
    painting(canvas, paint),
  );
  return el("div.window", {}, canvas);
}

/** Where 100 Hz, 1 and 10 kHz are, as parts of the height from the top. */
export function ticks(bandsHz) {
  return [[100, "100 Hz"], [1000, "1 kHz"], [10000, "10 kHz"]].flatMap(([hz, text]) => {
    const band = bandsHz.findIndex((edge) => edge >= hz);
    return band > 0 ? [{ text, at: 1 - band / BANDS }] : [];
  });
}
