// One label: look, change, add, remove.

import { patch, put, remove } from "../api.js";
import { el, fill } from "../dom.js";
import { accept, changed, daemon, isWritable, loadLabels, whyNotWritable } from "../daemon.js";
import { notFound } from "../not_found.js";
import { Preview } from "../preview.js";
import { link } from "../router.js";
import { failed, toast } from "../toasts.js";
import { duration, moment, score, spoken } from "../words.js";
import { LabelForm } from "./form.js";
import { Hints } from "./hints.js";

const LISTED = 8;

/** #/label/NAME, or #/label?text=... for a new one. */
export function view(box, { parts, query }, ends) {
  const old = parts[1] ? daemon.labels.get(parts[1]) : null;
  if (parts[1] && !old) return notFound(box, `There is no label “${parts[1]}”.`);
  const name = el("input", { id: "label-name", testid: "label-name", required: true, autocomplete: "off", spellcheck: "false", maxlength: 60, oninput: () => ask() });
  let version = daemon.version;
  const form = new LabelForm(old, () => { ask(); });
  const save = el("button.primary", { type: "submit", testid: "save" }, old ? "Save" : "Add the label");
  const preview = old && new Preview(old.name, (words, found) => showPreview(form.preview, words, found));

  const hints = new Hints(form.hints);

  function ask() {
    const { prompts, not, loud, threshold, off_threshold: off, smooth_s: smooth, min_on_s: minOn, min_off_s: minOff, pattern, follow } = form.values();
    const named = (old?.name ?? name.value).replace(/[_-]+/g, " ").trim();
    hints.ask(loud ? [] : [...(prompts.length ? prompts : [named]), ...not]);
    preview?.ask({ threshold, off_threshold: off, smooth_s: smooth, min_on_s: minOn, min_off_s: minOff, pattern, follow });
  }

  async function submit(event) {
    event.preventDefault();
    form.noProblem();
    save.disabled = true;
    const id = old?.name ?? name.value.trim();
    const path = `labels/${encodeURIComponent(id)}`;
    try {
      const changes = form.changes();
      if (old && !Object.keys(changes).length) {
        toast("Nothing was changed.");
        return;
      }
      const answer = old ? await patch(path, changes, version) : await put(path, form.whole(), version);
      version = answer.version;
      const label = accept(answer);
      form.follow(label);
      changedElsewhere.hidden = true;
      toast(old ? `${spoken(id)} saved.` : `${spoken(id)} added: it is listened for from now on.`);
      if (!old) location.hash = link("label", id);
    } catch (error) {
      refused(error);
    } finally {
      save.disabled = !isWritable();
    }
  }

  function refused(error) {
    if (error.status === 412) {
      form.problem("Changed elsewhere: your edits are kept here.", error.message,
        el("button", { type: "button", testid: "load-new", onclick: loadNew }, "Load the new version"));
    } else if (error.status === 422) form.problem("This is not valid yet:", error.message);
    else if (error.status === 409) form.problem("It cannot be saved:", error.message);
    else failed(error, "Not saved");
  }

  async function loadNew() {
    try {
      await loadLabels();
      takeNew();
    } catch (error) {
      failed(error, "The new version could not be loaded");
    }
  }

  function takeNew() {
    version = daemon.version;
    form.noProblem();
    changedElsewhere.hidden = true;
    if (!old) return;
    const label = daemon.labels.get(old.name);
    if (!label) {
      form.problem("Removed elsewhere.", "This label is no longer in the configuration.");
      return;
    }
    const clashes = form.follow(label);
    toast(clashes.length
      ? `The new version is loaded. Changed both there and here, yours is shown: ${clashes.join(", ")}.`
      : "The new version is loaded; your edits are still here.");
    ask();
  }

  const changedElsewhere = el("div.note.row", { hidden: true, role: "status", testid: "changed-elsewhere" });
  ends.add(changed.labels.on(() => {
    if (daemon.version === version) return;
    // Another label's change is not worth a word: what is here follows by itself.
    const now = old && daemon.labels.get(old.name);
    if (!old || (now && !form.differs(now))) {
      version = daemon.version;
      return;
    }
    fill(changedElsewhere, el("p", {}, "This label was changed elsewhere: your edits are kept here."),
      el("button", { type: "button", onclick: takeNew }, "Load the new version"));
    changedElsewhere.hidden = false;
  }), changed.info.on(ask), () => preview?.cancel(), () => hints.cancel());

  const node = el("form.form", { onsubmit: submit, testid: "label-form", novalidate: true },
    !isWritable() && el("p.note", { testid: "read-only" }, `This can be looked at, not changed: ${whyNotWritable()}`),
    changedElsewhere,
    !old && el("section.card", {}, el("div.labelled", {}, el("label", { for: "label-name" }, "Name"), name,
      el("p.hint", {}, "Short, as it appears in topics: dog_bark"))),
    form.node,
    el("div.actions", {}, save, el("a.button", { href: link("labels"), testid: "cancel" }, "Cancel"),
      old && el("button.danger", { type: "button", testid: "remove", disabled: !isWritable(), onclick: () => confirmRemoval(old.name, () => version) }, "Remove …")));
  fill(box, el("h1", {}, old ? spoken(old.name) : "Add a label"),
    old && el("p", {}, inForce(old), " ", el("a.alone", { href: link("events", { label: old.name }) }, "Its events"), " ",
      el("a.alone", { href: link("calibrate", { label: old.name }), testid: "calibrate-one" }, "Calibrate it")), node);
  if (!isWritable()) {
    form.disable();
    save.disabled = true;
  }
  if (!old) suggest(query.get("text"), name, form);
  ask();
  return old ? spoken(old.name) : "Add a label";
}

/** What holds at each source now, after schedule and MQTT. */
function inForce({ now }) {
  const words = Object.entries(now).map(([source, rule]) => `${source} ${rule.enabled ? score(rule.threshold) : "switched off"}`);
  return el("span.muted", {}, words.length ? `In force now: ${words.join(", ")}.` : "It is listened for nowhere.");
}

function suggest(text, name, form) {
  if (!text) return;
  form.type({ prompts: [text] });
  name.value = text.toLowerCase().replace(/^(a|an|the) /, "").replace(/[^a-z0-9]+/g, "_").replace(/^_|_$/g, "").slice(0, 40);
}

function showPreview(box, words, preview) {
  const listed = preview?.events.slice(0, LISTED) ?? [];
  // The list stays open while the slider moves.
  const wasOpen = box.querySelector("details")?.open ?? false;
  fill(box, el("p", { role: "status", testid: "preview-words" }, `${words[0].toUpperCase()}${words.slice(1)}.`),
    listed.length > 0 && el("details", { open: wasOpen }, el("summary", {}, "When"),
      el("ul.small.figures", {}, listed.map((event) => el("li", {}, `${moment(event.onset)}, ${event.source}, ${duration(event.duration_s)}, peak ${score(event.peak)}`)),
        preview.count > listed.length && el("li.muted", {}, `and ${preview.count - listed.length} more`))));
}

function confirmRemoval(name, version) {
  const dialog = el("dialog", { "aria-labelledby": "remove-title", testid: "confirm", onclose: () => dialog.remove() },
    el("form.stack", { method: "dialog" },
      el("h2", { id: "remove-title" }, `Remove ${spoken(name)}?`),
      el("p", {}, "It is taken out of the configuration and no longer listened for. Its events stay."),
      el("div.row", {}, el("button", { value: "no" }, "Keep it"),
        el("button.danger", { type: "button", testid: "confirm-remove", onclick: async () => {
          dialog.close();
          try {
            await remove(`labels/${encodeURIComponent(name)}`, version());
            await loadLabels();
            toast(`${spoken(name)} removed.`);
            location.hash = link("labels");
          } catch (error) {
            failed(error, "Not removed");
          }
        } }, "Remove"))));
  document.body.append(dialog);
  dialog.showModal();
}
