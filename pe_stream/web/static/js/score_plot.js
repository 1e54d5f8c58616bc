// Drawing scores over time: the live tracks, those of an event and those of a tried prompt alike.

import { palette } from "./theme.js";

/**
 * @typedef {object} Plot
 * @property {number} width in CSS pixels
 * @property {number} height
 * @property {number} from frame at the left edge (a fraction is fine)
 * @property {number} to frame at the right edge
 * @property {(frame: number) => number} scoreAt NaN where there is none
 * @property {number|null} threshold
 * @property {number|null} offThreshold
 * @property {{from: number, to: number}[]} events in frames
 * @property {boolean} [dim] the label is switched off
 */

const FRAME_S = 0.04;

/** Scores as thresholds are compared with them: means over so many seconds, of the frames that there are. */
export function smoothed(scoreAt, seconds) {
  const half = Math.floor(Math.round((seconds ?? 0) / FRAME_S) / 2);
  if (!half) return scoreAt;
  return (frame) => {
    if (Number.isNaN(scoreAt(frame))) return NaN;
    let sum = 0;
    let count = 0;
    for (const way of [-1, 1]) {
      for (let n = way < 0 ? frame : frame + 1; Math.abs(n - frame) <= half; n += way) {
        const one = scoreAt(n);
        if (Number.isNaN(one)) break; // nothing is known beyond a break
        sum += one;
        count += 1;
      }
    }
    return sum / count;
  };
}

/** @param {CanvasRenderingContext2D} context @param {Plot} plot */
export function drawScores(context, plot) {
  const { width, height, from, to, threshold, offThreshold } = plot;
  const colours = palette();
  const x = (frame) => ((frame - from) / (to - from)) * width;
  const y = (score) => height - 1 - score * (height - 3);
  context.clearRect(0, 0, width, height);
  context.fillStyle = colours.track;
  context.fillRect(0, 0, width, height);
  context.globalAlpha = plot.dim ? 0.4 : 1;

  const runs = curves(plot, x, y);
  paintRuns(context, runs, y(0), colours["quiet-fill"], colours.quiet);
  if (threshold !== null) {
    context.save();
    context.beginPath();
    context.rect(0, 0, width, y(threshold));
    context.clip();
    paintRuns(context, runs, y(threshold), colours["loud-fill"], colours.loud);
    context.restore();
  }
  context.fillStyle = colours.event;
  for (const event of plot.events) {
    const left = Math.max(0, x(event.from));
    context.fillRect(left, height - 4, Math.max(2, Math.min(width, x(event.to)) - left), 4);
  }
  if (offThreshold !== null) rule(context, width, y(offThreshold), colours.muted, 0.55, [2, 4]);
  if (threshold !== null) rule(context, width, y(threshold), colours.ink, 0.75, []);
  context.globalAlpha = 1;
}

/** Unbroken stretches as points [x, y]. Where frames are narrower than half a pixel, the highest of neighbours. */
function curves({ width, from, to, scoreAt }, x, y) {
  const step = Math.max(1, Math.floor((to - from) / (2 * width)));
  const runs = [];
  let run = null;
  // Groups keep their place while the picture moves, else peaks would flicker.
  const first = Math.floor(Math.floor(from) / step) * step;
  for (let n = first; n < to; n += step) {
    let score = NaN;
    for (let i = n; i < n + step && i < to; i += 1) {
      const one = scoreAt(i);
      if (!(one <= score)) score = Number.isNaN(one) ? score : one;
    }
    if (Number.isNaN(score)) {
      run = null;
      continue;
    }
    if (!run) runs.push(run = []);
    run.push([x(n + step / 2), y(score)]);
  }
  return runs;
}

function paintRuns(context, runs, base, fill, stroke) {
  context.fillStyle = fill;
  context.strokeStyle = stroke;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  for (const run of runs) {
    const line = new Path2D();
    for (const [px, py] of run) line.lineTo(px, py);
    const area = new Path2D(line);
    area.lineTo(run.at(-1)[0], base);
    area.lineTo(run[0][0], base);
    context.fill(area);
    context.stroke(line);
  }
}

function rule(context, width, at, colour, alpha, dashes) {
  context.save();
  context.globalAlpha *= alpha;
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.setLineDash(dashes);
  context.beginPath();
  context.moveTo(0, Math.round(at) + 0.5);
  context.lineTo(width, Math.round(at) + 0.5);
  context.stroke();
  context.restore();
}
