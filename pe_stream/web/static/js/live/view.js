// Live: what every source hears, now.

import { el, fill } from "../dom.js";
import { changed, daemon } from "../daemon.js";
import { keep, kept } from "../kept.js";
import { on } from "../stream.js";
import { Ends } from "../signal.js";
import { Panel } from "./panel.js";
import { recent } from "./recent.js";
import { repaint } from "./painting.js";

export function view(box, place, ends) {
  let order = kept("order", "configured");
  const sources = el("div.sources");
  const choice = el("select", {
    id: "order", testid: "order",
    onchange: () => {
      order = choice.value;
      keep("order", order);
      for (const panel of panels.values()) panel.order(order);
    },
  }, el("option", { value: "configured" }, "as configured"), el("option", { value: "loudest" }, "loudest first"));
  choice.value = order;
  /** @type {Map<string, Panel>} */
  const panels = new Map();
  let panelEnds = new Ends();

  function build() {
    panelEnds.end();
    panelEnds = new Ends();
    panels.clear();
    for (const source of daemon.sources.keys()) panels.set(source, new Panel(source, order, panelEnds));
    fill(sources, [...panels.values()].map((panel) => panel.node));
    if (!panels.size) fill(sources, el("p.empty.card", {}, el("strong", {}, "No sources"), "The configuration names none."));
  }

  fill(box,
    el("div.row.ends", {}, el("h1", {}, "What is heard now"),
      el("div.order", {}, el("label", { for: "order" }, "Labels"), choice)),
    el("div.live", {}, sources, recent(ends)));
  build();

  ends.add(
    changed.sources.on((name) => {
      const panel = panels.get(name);
      if (!panel) build();
      else panel.state();
    }),
    changed.labels.on(() => { for (const panel of panels.values()) panel.rebuild(); }),
    on.past.on(repaint),
    on.hop.on(repaint),
    // Frequencies are known with the first greeting.
    on.hello.on(() => { if (!box.querySelector(".frequencies span")) build(); }),
    () => panelEnds.end(),
  );
  return "Live";
}
