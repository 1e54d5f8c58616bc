// A known sound from the device that shows this page: three beeps.

export const TONE_HZ = 1000;
const BEEP_S = 0.4;
const BEEPS = 3;
const VOLUME = 0.35;
const EDGE_S = 0.01; // without it, beeps click

/**
 * Play it. The device's own volume counts.
 * @returns {Promise<number>} performance.now() at which the first beep begins
 */
export async function playTone() {
  const context = new AudioContext();
  await context.resume();
  const oscillator = new OscillatorNode(context, { frequency: TONE_HZ });
  const gain = new GainNode(context, { gain: 0 });
  oscillator.connect(gain).connect(context.destination);
  const begin = context.currentTime + 0.1;
  for (let beep = 0; beep < BEEPS; beep += 1) {
    const on = begin + beep * 2 * BEEP_S;
    gain.gain.setValueAtTime(0, on);
    gain.gain.linearRampToValueAtTime(VOLUME, on + EDGE_S);
    gain.gain.setValueAtTime(VOLUME, on + BEEP_S - EDGE_S);
    gain.gain.linearRampToValueAtTime(0, on + BEEP_S);
  }
  oscillator.start(begin);
  oscillator.stop(begin + BEEPS * 2 * BEEP_S);
  oscillator.onended = () => context.close();
  const delay = 0.1 + (context.outputLatency || context.baseLatency || 0);
  return performance.now() + delay * 1000;
}

/** The pattern frame by frame: 1 where it sounds, with the silence before, between and after. */
export function tonePattern(frameS) {
  const length = Math.round(BEEP_S / frameS);
  const pattern = new Array(length).fill(0);
  for (let beep = 0; beep < BEEPS; beep += 1) pattern.push(...new Array(length).fill(1), ...new Array(length).fill(0));
  return { pattern, lead: length };
}
