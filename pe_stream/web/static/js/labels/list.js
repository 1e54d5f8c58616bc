// All labels: what each listens for, its threshold, and how often it was heard in the last 24 h.

import { get } from "../api.js";
import { el, fill } from "../dom.js";
import { changed, daemon, isWritable, whyNotWritable } from "../daemon.js";
import { link } from "../router.js";
import { many, score, spoken } from "../words.js";

const DAY_MS = 86_400_000;

export function view(box, place, ends) {
  const list = el("ul.label-list", { testid: "labels" });
  const readOnly = el("p.note", { hidden: true, testid: "read-only" });
  const add = el("a.button.primary", { href: link("label"), testid: "add-label" }, "Add a label");
  /** Counts by label; null where they are not known. */
  let counts = null;

  function show() {
    readOnly.hidden = isWritable();
    readOnly.textContent = `Labels can be looked at, not changed: ${whyNotWritable()}`;
    add.hidden = !isWritable();
    fill(list, [...daemon.labels.values()].map((label) => card(label, counts)));
    if (!daemon.labels.size) {
      fill(list, el("li.empty", {}, el("strong", {}, "No labels yet"), "A label is a name and what the sound is, in words."));
    }
  }

  fill(box, el("div.row.ends", {}, el("h1", {}, "Labels"), el("div.row", {}, el("a.button", { href: link("calibrate"), testid: "calibrate-all" }, "Calibrate"), add)), readOnly, list);
  show();
  ends.add(changed.labels.on(show), changed.rules.on(show), changed.info.on(show));
  countDay().then((found) => { counts = found; if (!ends.ended) show(); });
  return "Labels";
}

async function countDay() {
  const now = Date.now();
  try {
    const { buckets } = await get("timeline", { since: new Date(now - DAY_MS).toISOString(), until: new Date(now).toISOString(), by: "hour" });
    const counts = new Map();
    for (const { labels } of buckets) {
      for (const [label, count] of Object.entries(labels)) counts.set(label, (counts.get(label) ?? 0) + count);
    }
    return counts;
  } catch {
    return null; // without a store there are no counts, and everything else is as good
  }
}

function card(label, counts) {
  const rules = Object.values(label.now);
  const thresholds = [...new Set(rules.map((rule) => score(rule.threshold)))];
  const figures = [
    thresholds.length ? `threshold ${thresholds.join(" / ")}` : "heard nowhere",
    counts && `${many(counts.get(label.name) ?? 0, "event")} in 24 h`,
    label.sources && `only ${label.sources.join(", ")}`,
    label.schedule.length > 0 && "has a schedule",
    label.pattern && "has a pattern",
    label.follow && "follows the room",
    label.least_db !== null && `at ${label.least_db} dBFS or more`,
  ].filter(Boolean);
  return el("li.card", { testid: "label", data: { label: label.name }, class: label.enabled ? "card" : "card is-off" },
    el("a", { href: link("label", label.name) },
      el("span.row.ends", {}, el("span.name", {}, spoken(label.name)), !label.enabled && el("span.badge", {}, "switched off")),
      el("span.prompts", {}, label.loud && loudness(label.loud), label.prompts.map((prompt) => `“${prompt}”`).join(" · "),
        label.not.length > 0 && el("span", {}, ` but not ${label.not.map((prompt) => `“${prompt}”`).join(", ")}`)),
      el("span.small.figures", {}, figures.join(" · "))));
}

const loudness = ({ above_db: above, of }) => (of === "full_scale" ? `whatever has ${above} dBFS` : `whatever is ${above} dB above the background`);
