// Thresholds for so many false alarms a day, from the scores that are kept. The daemon calibrates; it goes on without this page.

import { get, patch, post, remove } from "../api.js";
import { el, fill } from "../dom.js";
import { accept, changed, daemon, isWritable, loadLabels, whyNotWritable } from "../daemon.js";
import { link } from "../router.js";
import { failed, toast } from "../toasts.js";
import { many, moment, spoken } from "../words.js";

const SPANS = [["1h", "the last hour"], ["24h", "the last day"], ["3d", "the last 3 days"], ["7d", "the last week"], ["30d", "the last 30 days"]];
const ASK_AGAIN_MS = 1000;
const MOST_A_DAY = 86_400;

/** #/calibrate, or #/calibrate?label=NAME. */
export function view(box, { query }, ends) {
  const rate = el("input", { type: "number", id: "false-alarms", testid: "false-alarms", min: 0, max: MOST_A_DAY, step: "any", value: 1, required: true, inputmode: "decimal" });
  const span = el("select", { id: "calibrate-span", testid: "calibrate-span" }, SPANS.map(([since, words]) => el("option", { value: since, selected: since === "24h" }, words)));
  const which = el("select", { id: "calibrate-label", testid: "calibrate-label" }, el("option", { value: "" }, "all labels"),
    [...daemon.labels.keys()].map((name) => el("option", { value: name, selected: name === query.get("label") }, spoken(name))));
  const start = el("button.primary", { type: "submit", testid: "calibrate" }, "Calibrate");
  const cancel = el("button", { type: "button", testid: "cancel-calibration", hidden: true, onclick: () => act(() => remove("calibration"), "Not cancelled") }, "Cancel");
  const told = el("p", { role: "status", testid: "calibration-told" });
  const problem = el("p.problem", { role: "alert", testid: "calibration-problem" });
  const list = el("ul.stack", { testid: "suggestions" });
  const all = el("button.primary", { type: "button", testid: "apply-all", hidden: true, onclick: applyAll }, "Apply all");
  const notes = el("div");
  let timer = 0;
  let busy = false;
  /** As GET calibration. */
  let now = null;

  async function act(ask, title) {
    clearTimeout(timer);
    problem.textContent = "";
    try {
      show(await ask());
    } catch (error) {
      if (ends.ended) return;
      if (error.status) problem.textContent = error.message;
      else failed(error, title);
      if (now?.phase === "running") again();
    }
  }

  const look = () => act(() => get("calibration"), "Not known how the calibration does");

  function again() {
    clearTimeout(timer);
    if (!ends.ended) timer = setTimeout(look, ASK_AGAIN_MS);
  }

  function show(answer) {
    if (ends.ended) return;
    now = answer;
    const running = now.phase === "running";
    start.disabled = running || now.reason !== null;
    cancel.hidden = !running;
    const words = wordsOf(now);
    if (told.textContent !== words) told.textContent = words; // read out once, not each second
    fill(list, now.suggestions.map((each) => item(each, () => apply([each]))));
    all.hidden = now.suggestions.filter(isNew).length < 2;
    all.disabled = !isWritable();
    fill(notes, now.notes.length > 0 && el("ul.muted.small", {}, now.notes.map((note) => el("li", {}, `${note[0].toUpperCase()}${note.slice(1)}.`))),
      now.command && el("p.muted.small", {}, "The same on the command line: ", el("code", {}, now.command)));
    if (running) again();
  }

  function submit(event) {
    event.preventDefault();
    const wanted = { false_alarms: Number(rate.value), since: span.value, labels: which.value ? [which.value] : [] };
    act(() => post("calibration", wanted), "Not calibrated");
  }

  function applyAll() {
    apply(now.suggestions.filter(isNew));
  }

  /** One after the other, each on the version that the one before it made: whoever edits meanwhile is not overruled. */
  async function applyNext(some, version, done) {
    const [each, ...rest] = some;
    if (!each) return;
    const keys = { threshold: each.threshold, ...(each.off_threshold === null ? {} : { off_threshold: each.off_threshold }) };
    const answer = await patch(`labels/${encodeURIComponent(each.label)}`, keys, version);
    accept(answer);
    done.push(spoken(each.label));
    await applyNext(rest, answer.version, done);
  }

  async function apply(some) {
    if (busy) return;
    busy = true;
    const done = [];
    try {
      await applyNext(some, now.version, done);
    } catch (error) {
      if (error.status === 412) {
        problem.textContent = "The configuration was changed elsewhere meanwhile: look at what is suggested once more, and apply it again.";
        await loadLabels().catch(() => {});
      } else failed(error, "Not applied");
    } finally {
      busy = false;
    }
    if (done.length) toast(done.length === 1 ? `Threshold of ${done[0]} saved.` : `${many(done.length, "threshold")} saved.`);
    const said = problem.textContent;
    await look();
    problem.textContent ||= said;
  }

  fill(box, el("h1", {}, "Calibrate"),
    el("p.muted", {}, "How high must thresholds be for so many false alarms of each label? Whatever was heard in that time counts as one, unless its event was marked right."),
    !isWritable() && el("p.note", { testid: "read-only" }, `Suggestions can be looked at, not applied: ${whyNotWritable()}`),
    el("form.card.stack", { onsubmit: submit, testid: "calibrate-form" },
      el("div.grid", {},
        el("div.labelled", {}, el("label", { for: rate.id }, "False alarms a day"), rate),
        el("div.labelled", {}, el("label", { for: span.id }, "From"), span),
        el("div.labelled", {}, el("label", { for: which.id }, "Of"), which)),
      el("div.row", {}, start, cancel), told, problem),
    list, el("div.row", {}, all), notes);
  look();
  // Labels that were changed may be others than were calibrated.
  ends.add(() => clearTimeout(timer), changed.labels.on(() => { if (!busy) look(); }));
  return "Calibrate";
}

const isNew = ({ threshold, threshold_now: was, changed: other }) => threshold !== null && threshold !== was && !other;

function wordsOf({ reason, phase, began, ended, error }) {
  if (reason !== null) return `Nothing can be calibrated: ${reason}.`;
  return {
    none: "",
    running: `Calibrating since ${moment(began)}. It may take minutes, and goes on if you leave this page.`,
    done: `Calibrated ${moment(ended)}.`,
    failed: `Not calibrated: ${error}.`,
    cancelled: `Cancelled ${moment(ended)}.`,
  }[phase];
}

function item(each, apply) {
  const name = el("a", { href: link("label", each.label) }, spoken(each.label));
  const node = (...children) => el("li.card.stack", { testid: "suggestion", data: { label: each.label } }, ...children);
  if (each.threshold === null) return node(el("strong", {}, name), el("p.muted", {}, `No suggestion: ${each.lack}.`));
  const current = daemon.labels.get(each.label);
  const applied = Object.values(current?.now ?? {}).some((rule) => Math.abs(rule.threshold - each.threshold) < 0.0001);
  const button = el("button", { type: "button", testid: "apply", disabled: !isWritable() || each.changed || applied, onclick: apply },
    applied ? "In force" : `Apply ${exact(each.threshold)}`);
  return node(
    el("div.row.ends", {}, el("strong", {}, name), button),
    el("p.figures", {}, `Threshold ${exact(each.threshold_now)} → ${exact(each.threshold)}: ${figure(each.rate)} false alarms a day (${figure(each.low)} to ${figure(each.high)}). The present one gave ${figure(each.now)}.`),
    each.changed && el("p.note", {}, "This label was changed since: calibrate again."),
    !each.reached && el("p.note", {}, "Fewer cannot be had at any threshold: it hears itself in this sound. Say what it is not, or use other prompts."),
    el("p.muted.small.figures", {}, restsOn(each)));
}

function restsOn({ hours, spread, extrapolated, examples, right }) {
  return [
    `From ${hours >= 1 ? hours.toFixed(1) : Number(hours.toPrecision(2))} h of sound; half of all scores are below ${two(spread.middle)}, 99 % below ${two(spread.high)}, the highest is ${two(spread.highest)}.`,
    extrapolated && "So rare a rate is estimated from how the highest scores fall off: more hours make it surer.",
    right > 0 && `${many(right, "event")} marked right left out.`,
    examples && `It finds ${examples.found} of ${many(examples.total, "event")} marked right; the present threshold ${examples.now}.`,
  ].filter(Boolean).join(" ");
}

const exact = (value) => String(Number(value.toFixed(4)));
const two = (value) => String(Number(value.toPrecision(2)));

/** Two digits, as the command has them: 0, 0.34, 1.0, 12. */
function figure(value) {
  if (value < 0.005) return "0";
  return value < 0.95 ? value.toFixed(2) : value < 9.95 ? value.toFixed(1) : value.toFixed(0);
}
