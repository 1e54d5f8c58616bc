// Is the test tone in what a source heard? Pure: levels in, answer out.

/** So much louder than its gaps must the pattern be ... */
const LEAST_DB = 6;
/** ... and so like it must the levels be: correlation, 1 is exact. Chance and speech stay below. */
const LEAST_LIKENESS = 0.65;

/**
 * The band that holds a frequency.
 * @param {number[]} edges of the bands in Hz, rising
 * @returns {number} -1 where none does
 */
export function bandOf(edges, hz) {
  return edges.findIndex((edge, band) => band + 1 < edges.length && edge <= hz && hz < edges[band + 1]);
}

/** A byte of `bands` in dBFS: 0 is -100 or less, 255 is 0. */
export const toDb = (byte) => (byte / 255) * 100 - 100;

/**
 * Find where `pattern` (0 and 1 per frame) fits `levels` (dB per frame) best.
 *
 * Levels are compared relative to their own mean, so neither volume nor the background matters.
 * @param {ArrayLike<number>} levels NaN where a frame never came
 * @param {number[]} pattern
 * @returns {{heard: boolean, aboveDb: number, at: number, likeness: number}} `at`: frame of `levels` at
 *   which the pattern begins, -1 where there are too few frames; `aboveDb`: mean of its ones over its zeros
 */
export function findPattern(levels, pattern) {
  let best = { heard: false, aboveDb: 0, at: -1, likeness: 0 };
  for (let at = 0; at + pattern.length <= levels.length; at += 1) {
    const likeness = correlation(levels, at, pattern);
    if (likeness > best.likeness) best = { ...best, likeness, at };
  }
  if (best.at < 0) return best;
  const aboveDb = mean(levels, best.at, pattern, 1) - mean(levels, best.at, pattern, 0);
  return { ...best, aboveDb, heard: best.likeness >= LEAST_LIKENESS && aboveDb >= LEAST_DB };
}

/** Pearson's, of the pattern and as many levels from `at` on; 0 where it is undefined. */
function correlation(levels, at, pattern) {
  const count = pattern.length;
  let sumX = 0;
  let sumY = 0;
  let sumXX = 0;
  let sumYY = 0;
  let sumXY = 0;
  for (let i = 0; i < count; i += 1) {
    const x = levels[at + i];
    const y = pattern[i];
    sumX += x;
    sumY += y;
    sumXX += x * x;
    sumYY += y * y;
    sumXY += x * y;
  }
  const spread = (sumXX - (sumX * sumX) / count) * (sumYY - (sumY * sumY) / count);
  return spread > 1e-9 ? (sumXY - (sumX * sumY) / count) / Math.sqrt(spread) : 0;
}

function mean(levels, at, pattern, which) {
  let sum = 0;
  let count = 0;
  pattern.forEach((value, i) => {
    if (value === which) {
      sum += levels[at + i];
      count += 1;
    }
  });
  return count ? sum / count : 0;
}
