// Whether the threshold follows the room, and how far.

import { el } from "../dom.js";
import { check, number } from "./fields.js";

/** As in the configuration (config/patterns.py). */
const DEFAULTS = { quantile: 0.999, margin: 0.5, window_s: 3600, highest: 0.95 };

/** A field as in fields.js: null is not, true is with the defaults. */
export function follow() {
  const on = check("follow", "The threshold follows the room");
  const parts = {
    highest: number("follow-highest", "Never above", "Between the threshold and 1.", { max: 1, placeholder: DEFAULTS.highest }),
    margin: number("follow-margin", "How far above the room", "In the logit: 0.5 makes 0.62 of 0.5.", { max: 10, placeholder: DEFAULTS.margin }),
    quantile: number("follow-quantile", "Above this part of it", "Of what the room scores: 0.5 to 0.9999.", { min: 0.5, max: 0.9999, placeholder: DEFAULTS.quantile }),
    window_s: number("follow-window_s", "Of the last, s", "A minute to a day, in whole minutes.", { min: 60, max: 86400, placeholder: DEFAULTS.window_s }),
  };
  const grid = el("div.grid", {}, Object.values(parts).map((part) => part.node));
  /** Keys of what was loaded that this form does not know: they stay. */
  let unknown = {};
  const show = () => { grid.hidden = !on.read(); };
  on.inputs[0].addEventListener("input", show);
  return {
    key: "follow", parts, inputs: [...on.inputs, ...Object.values(parts).flatMap((part) => part.inputs)],
    node: el("fieldset.stack", { testid: "follow" }, el("legend", {}, "Noisy rooms"), on.node,
      el("p.hint", {}, "It rises above what the room scores without events, and falls back with it; never below the threshold."), grid),
    read: () => {
      if (!on.read()) return null;
      const told = Object.entries(parts).map(([key, part]) => [key, part.read()]).filter(([key, value]) => value !== null && value !== DEFAULTS[key]);
      const all = { ...unknown, ...Object.fromEntries(told) };
      return Object.keys(all).length ? all : true;
    },
    write: (value) => {
      const all = typeof value === "object" && value !== null ? value : {};
      on.write(Boolean(value));
      for (const [key, part] of Object.entries(parts)) part.write(all[key] === DEFAULTS[key] ? null : all[key] ?? null);
      unknown = Object.fromEntries(Object.entries(all).filter(([key, one]) => !(key in parts) && one !== null));
      show();
    },
  };
}
