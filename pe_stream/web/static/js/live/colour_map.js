// Level -> colour of the spectrogram. Lightness changes in one direction only, so that it reads
// without colour too: from paper to ink in light, from slate to phosphor in dark.

import { isDark } from "../theme.js";

const LIGHT = [[0, 245, 248, 247], [0.3, 205, 228, 226], [0.55, 92, 165, 167], [0.78, 10, 92, 104], [1, 8, 28, 42]];
const DARK = [[0, 16, 24, 27], [0.3, 16, 56, 70], [0.55, 26, 124, 128], [0.78, 226, 160, 74], [1, 255, 244, 218]];

/** What is drawn as silence and as loudest: -92 and -25 dBFS in a band. */
const LOWEST = 20;
const HIGHEST = 191;

/** 256 colours as bytes R, G, B, A. */
export function colourMap() {
  const stops = isDark() ? DARK : LIGHT;
  const map = new Uint8ClampedArray(256 * 4);
  for (let byte = 0; byte < 256; byte += 1) {
    const level = Math.min(1, Math.max(0, (byte - LOWEST) / (HIGHEST - LOWEST)));
    const above = Math.max(1, stops.findIndex(([at]) => at >= level));
    const [from, ...low] = stops[above - 1];
    const [to, ...high] = stops[above];
    const part = (level - from) / (to - from);
    low.forEach((value, i) => { map[byte * 4 + i] = value + part * (high[i] - value); });
    map[byte * 4 + 3] = 255;
  }
  return map;
}
