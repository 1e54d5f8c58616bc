// "Use as an example of ...": the recording of an event teaches a label, a new one too, its sound.

import { post } from "./api.js";
import { el, fill } from "./dom.js";
import { daemon, isWritable, loadLabels, whyNotWritable } from "./daemon.js";
import { link } from "./router.js";
import { failed, toast } from "./toasts.js";
import { spoken } from "./words.js";

const NEW = "";

/** @param {object} entry an event with a clip */
export function exampleForm(entry) {
  const which = el("select", { id: "example-label", testid: "example-label" },
    [...daemon.labels.keys()].map((name) => el("option", { value: name, selected: name === entry.label }, spoken(name))),
    el("option", { value: NEW }, "a new label …"));
  const name = text("name", "Name", "Short, as it appears in topics: kettle", 60);
  const prompt = text("prompt", "What the sound is, in words", "Empty: the name.", 300);
  const isNew = el("div.stack", { hidden: which.value !== NEW }, name.node, prompt.node);
  const button = el("button", { type: "submit", testid: "example-add", disabled: !isWritable() }, "Use it");
  const problem = el("p.problem", { role: "alert", testid: "example-problem" });
  const result = el("div.stack", { role: "status", testid: "example-result" });
  which.addEventListener("change", () => { isNew.hidden = which.value !== NEW; });

  async function submit(event) {
    event.preventDefault();
    const label = which.value || name.input.value.trim();
    const prompts = which.value === NEW && prompt.input.value.trim() ? [prompt.input.value.trim()] : [];
    problem.textContent = "";
    if (!label) {
      problem.textContent = "Give the new label a name.";
      name.input.focus();
      return;
    }
    if (which.value === NEW && daemon.labels.has(label)) {
      problem.textContent = `There is a label “${label}” already: choose it above.`;
      return;
    }
    button.disabled = true;
    button.textContent = "Learning …";
    try {
      const answer = await post(`events/${encodeURIComponent(entry.id)}/example`, { label, prompts }, { version: daemon.version });
      toast(`${spoken(label)} has learned it: ${answer.label.examples.length} in all.`);
      show(label, answer.report);
      await loadLabels();
    } catch (error) {
      if (error.status === 412) {
        await loadLabels().catch(() => {});
        problem.textContent = "The configuration was changed elsewhere meanwhile: try again.";
      } else if (error.status >= 400 && error.status !== 401) problem.textContent = error.message;
      else failed(error, "Not learned");
    } finally {
      button.disabled = !isWritable();
      button.textContent = "Use it";
    }
  }

  function show(label, report) {
    fill(result, el("p", {}, el("a.alone", { href: link("label", label) }, `Settings of ${spoken(label)}`)),
      report.length > 0 && el("details", {}, el("summary", {}, "What it hears now"),
        el("pre.report", { tabindex: 0, aria: { label: "What the label hears now" }, testid: "example-report" }, report.join("\n"))));
  }

  return el("form.card.stack", { onsubmit: submit, testid: "example", novalidate: true, "aria-labelledby": "example" },
    el("h2", { id: "example" }, "Use as an example"),
    el("p.hint", {}, isWritable() ? "A label learns from recordings what its words do not tell. The sound is copied, and kept until you delete it."
      : `Labels cannot be changed: ${whyNotWritable()}`),
    el("div.labelled", {}, el("label", { for: which.id }, "Of which label"), which), isNew, problem, el("div", {}, button), result);
}

function text(key, words, hint, longest) {
  const id = `example-${key}`;
  const input = el("input", { id, testid: id, maxlength: longest, autocomplete: "off", spellcheck: "false", aria: { describedby: `${id}-hint` } });
  return { input, node: el("div.labelled", {}, el("label", { for: id }, words), input, el("p.hint", { id: `${id}-hint` }, hint)) };
}
