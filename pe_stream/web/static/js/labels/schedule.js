// When other rules hold: rows of days, from, to, and what is then different. The first that matches counts.

import { el, fill, icon } from "../dom.js";

const DAYS = [["mon", "Monday"], ["tue", "Tuesday"], ["wed", "Wednesday"], ["thu", "Thursday"], ["fri", "Friday"], ["sat", "Saturday"], ["sun", "Sunday"]];
const TIMES = ["sunrise", "sunset", "06:00", "08:00", "18:00", "20:00", "22:00"];
let made = 0;

/** A field as in fields.js. */
export function schedule() {
  const list = el("ol.rules", { testid: "schedule" });
  const times = el("datalist", { id: "schedule-times" }, TIMES.map((value) => el("option", { value })));
  const add = el("button", { type: "button", testid: "add-rule", onclick: () => {
    rules.push(rule({ days: null, from: "22:00", to: "06:00", threshold: null, enabled: null }));
    show();
    rules.at(-1).focus();
    changed();
  } }, "Add a time");
  let rules = [];

  function show() {
    fill(list, rules.map((one, place) => {
      one.title(place, rules.length);
      return one.node;
    }));
    field.inputs = [add, ...rules.flatMap((one) => one.inputs)];
  }

  function rule(values) {
    const one = row(values, {
      remove: () => {
        const place = rules.indexOf(one);
        rules.splice(place, 1);
        show();
        (rules[Math.min(place, rules.length - 1)]?.focus ?? (() => add.focus()))();
        changed();
      },
      up: () => {
        const place = rules.indexOf(one);
        rules.splice(place - 1, 0, ...rules.splice(place, 1));
        show();
        one.focus();
        changed();
      },
    });
    return one;
  }

  const changed = () => list.dispatchEvent(new Event("input", { bubbles: true }));
  const field = {
    key: "schedule", inputs: [add],
    node: el("fieldset", {}, el("legend", {}, "Schedule"),
      el("p.hint", {}, "At these times it is different. The first row that matches counts; over midnight is allowed, days are those on which it begins."),
      list, add, times),
    read: () => rules.map((one) => one.read()),
    write: (value) => { rules = (value ?? []).map(rule); show(); },
  };
  return field;
}

function row(values, { remove, up }) {
  made += 1;
  const id = `rule-${made}`;
  const days = DAYS.map(([day, words]) => {
    const input = el("input", { type: "checkbox", id: `${id}-${day}`, value: day, checked: values.days?.includes(day) ?? true, aria: { label: words } });
    return { input, node: el("label", { for: input.id }, input, el("span", { aria: { hidden: "true" } }, words.slice(0, 3))) };
  });
  const time = (name, text) => {
    const input = el("input", { id: `${id}-${name}`, list: "schedule-times", value: values[name], placeholder: "22:00 or sunset", autocomplete: "off", testid: `rule-${name}` });
    return { input, node: el("div.labelled", {}, el("label", { for: input.id }, text), input) };
  };
  const { input: from, node: fromNode } = time("from", "From");
  const { input: to, node: toNode } = time("to", "To");
  const limit = el("input", { type: "number", id: `${id}-threshold`, min: 0, max: 1, step: "any", value: values.threshold ?? "", placeholder: "as usual", testid: "rule-threshold" });
  const enabled = el("select", { id: `${id}-enabled`, testid: "rule-enabled" },
    [["", "as usual"], ["true", "on"], ["false", "off"]].map(([value, text]) => el("option", { value }, text)));
  enabled.value = values.enabled === null || values.enabled === undefined ? "" : String(values.enabled);
  const legend = el("legend");
  const upButton = el("button.quiet", { type: "button", onclick: up }, icon("up"), "Up");
  const removeButton = el("button.quiet", { type: "button", onclick: remove, testid: "remove-rule" }, icon("wrong"), "Remove");
  const fields = el("fieldset.stack", {}, legend,
    el("div.days", { role: "group", aria: { label: "Days" } }, days.map(({ node }) => node)),
    el("div.grid", {}, fromNode, toNode,
      el("div.labelled", {}, el("label", { for: limit.id }, "Threshold"), limit),
      el("div.labelled", {}, el("label", { for: enabled.id }, "Switched"), enabled)),
    el("div.row", {}, upButton, removeButton));
  return {
    node: el("li.rule", { testid: "rule" }, fields),
    inputs: [...days.map(({ input }) => input), from, to, limit, enabled, upButton, removeButton],
    focus: () => from.focus(),
    title: (place, count) => {
      legend.textContent = count > 1 ? `Time ${place + 1}` : "Time";
      upButton.hidden = place === 0;
      upButton.setAttribute("aria-label", `Move time ${place + 1} up`);
      removeButton.setAttribute("aria-label", `Remove time ${place + 1}`);
    },
    read: () => {
      const chosen = days.filter(({ input }) => input.checked).map(({ input }) => input.value);
      return {
        days: chosen.length === DAYS.length ? null : chosen, from: from.value.trim(), to: to.value.trim(),
        threshold: limit.value === "" ? null : Number(limit.value),
        off_threshold: values.off_threshold ?? null,  // the file may have one
        enabled: enabled.value === "" ? null : enabled.value === "true",
      };
    },
  };
}
