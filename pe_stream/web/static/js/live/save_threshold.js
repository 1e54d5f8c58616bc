// A threshold that was moved is written to the configuration, and can be taken back.

import { changeLabel, daemon, whyNotWritable } from "../daemon.js";
import { failed, toast } from "../toasts.js";
import { score, spoken } from "../words.js";

/**
 * @param {string} label
 * @param {number} from in force before
 * @param {number} to
 * @returns {Promise<boolean>} whether it was saved
 */
export async function saveThreshold(label, from, to) {
  const before = daemon.labels.get(label);
  const keys = { threshold: to };
  const undo = { threshold: before?.threshold ?? null };
  // An off threshold may not be above: it then moves along.
  if (before?.off_threshold !== null && before?.off_threshold > to) {
    keys.off_threshold = to;
    undo.off_threshold = before.off_threshold;
  }
  try {
    const after = await changeLabel(label, keys);
    toast(`Threshold of ${spoken(label)} ${score(from)} → ${score(to)} saved.${heldElsewhere(after, to)}`, {
      action: { text: "Undo", run: () => takeBack(label, undo) },
    });
    return true;
  } catch (error) {
    const why = error.status === 409 && whyNotWritable() ? new Error(whyNotWritable()) : error;
    failed(Object.assign(why, { status: error.status }), `Threshold of ${spoken(label)} not saved`);
    return false;
  }
}

async function takeBack(label, keys) {
  try {
    const after = await changeLabel(label, keys);
    const now = after.threshold === null ? "the default" : score(after.threshold);
    toast(`Threshold of ${spoken(label)} is ${now} again.`);
  } catch (error) {
    failed(error, `Threshold of ${spoken(label)} not taken back`);
  }
}

/** A schedule or MQTT may hold another threshold than the one that was saved. */
function heldElsewhere(label, to) {
  const held = Object.entries(label.now).filter(([, rule]) => Math.abs(rule.threshold - to) > 0.0005);
  if (!held.length) return "";
  const where = held.map(([source, rule]) => `${score(rule.threshold)} at ${source}`).join(", ");
  return ` At the moment a schedule or MQTT sets it to ${where}.`;
}
