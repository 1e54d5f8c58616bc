// Whether the level alone makes the label, and how loud its sounds must be.

import { el } from "../dom.js";
import { check, choice, number } from "./fields.js";

/** As in the configuration (config/loud.py). */
const DEFAULTS = { above_db: 20, of: "background" };

const ABOVE = {
  background: "How far above what is quiet here: ten times as loud in amplitude is 20.",
  full_scale: "A level in dBFS, 0 or less: 0 is the greatest there is.",
};

/** A field as in fields.js: null is not, true is with the defaults. */
export function loud() {
  const on = check("loud", "Whatever is loud is its sound: no words, and no model");
  const above = number("loud-above_db", "At least so loud, dB", ABOVE.background, { min: -90, max: 90, placeholder: DEFAULTS.above_db });
  const of = choice("loud-of", "Above", [["background", "the background of this place"], ["full_scale", "full scale (dBFS)"]]);
  const grid = el("div.grid", {}, of.node, above.node);
  const hint = above.node.querySelector(".hint");
  const show = () => {
    grid.hidden = !on.read();
    if (hint) hint.textContent = ABOVE[of.read()] ?? "";
  };
  for (const input of [...on.inputs, ...of.inputs]) input.addEventListener("input", show);
  return {
    key: "loud", parts: { above_db: above, of }, inputs: [...on.inputs, ...above.inputs, ...of.inputs],
    node: el("fieldset.stack", { testid: "loud" }, el("legend", {}, "By its level"), on.node, grid),
    read: () => {
      if (!on.read()) return null;
      const told = { above_db: above.read() ?? DEFAULTS.above_db, of: of.read() };
      const changed = Object.entries(told).filter(([key, value]) => value !== DEFAULTS[key]);
      return changed.length ? Object.fromEntries(changed) : true;
    },
    write: (value) => {
      const all = typeof value === "object" && value !== null ? value : {};
      on.write(Boolean(value));
      above.write((all.above_db ?? DEFAULTS.above_db) === DEFAULTS.above_db ? null : all.above_db);
      of.write(all.of ?? DEFAULTS.of);
      show();
    },
  };
}
