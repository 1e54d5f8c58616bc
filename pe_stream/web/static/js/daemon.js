// What the whole page knows: the daemon's facts, its sources and labels, kept up to date.

import { get, patch } from "./api.js";
import { Signal } from "./signal.js";
import { on } from "./stream.js";
import { failed } from "./toasts.js";
import { useZone } from "./zone.js";

export const daemon = {
  /** As GET info. @type {Record<string, any>|null} */
  info: null,
  /** Sources by name, in the daemon's order. @type {Map<string, object>} */
  sources: new Map(),
  /** Labels by name, in the order configured. @type {Map<string, object>} */
  labels: new Map(),
  /** Version of the configuration that `labels` are of. */
  version: "",
  /** Rules in force: source -> label -> {threshold, off_threshold, smooth_s, enabled}. */
  rules: new Map(),
  bandsHz: [],
};

export const changed = { sources: new Signal(), labels: new Signal(), rules: new Signal(), info: new Signal() };

export async function load() {
  const [info, sources, labels] = await Promise.all([get("info"), get("sources"), get("labels")]);
  takeInfo(info);
  takeSources(sources.sources);
  takeLabels(labels);
}

export async function loadInfo() {
  takeInfo(await get("info"));
}

export async function loadLabels() {
  takeLabels(await get("labels"));
}

function takeInfo(info) {
  daemon.info = info;
  useZone(info.timezone);
  changed.info.send(info);
}

function takeSources(sources) {
  daemon.sources = new Map(sources.map((source) => [source.name, source]));
  changed.sources.send();
}

function takeLabels({ version, labels }) {
  daemon.version = version;
  daemon.labels = new Map(labels.map((label) => [label.name, label]));
  daemon.rules = new Map();
  for (const label of labels) {
    for (const [source, rule] of Object.entries(label.now)) setRule(source, label.name, rule);
  }
  changed.labels.send();
  changed.rules.send(null);
}

function setRule(source, label, rule) {
  if (!daemon.rules.has(source)) daemon.rules.set(source, new Map());
  daemon.rules.get(source).set(label, rule);
}

/** The rule in force, or null where the label is not listened for at that source. */
export const ruleOf = (source, label) => daemon.rules.get(source)?.get(label) ?? null;

/** Names of the labels that are listened for at a source, in the order configured. */
export function labelsAt(source) {
  return [...daemon.labels.values()].filter((label) => source in label.now).map((label) => label.name);
}

export const isWritable = () => daemon.info?.config.writable ?? false;
export const whyNotWritable = () => daemon.info?.config.reason ?? "";

/**
 * Change keys of a label. Where someone else changed the file meanwhile, but not these keys of this
 * label, the change is made on the new version.
 * @returns {Promise<object>} the label as it is now
 */
export async function changeLabel(name, keys) {
  const before = daemon.labels.get(name);
  try {
    return accept(await patch(`labels/${encodeURIComponent(name)}`, keys, daemon.version));
  } catch (error) {
    if (error.status !== 412) throw error;
    await loadLabels();
    const after = daemon.labels.get(name);
    const untouched = after && Object.keys(keys).every((key) => JSON.stringify(before?.[key]) === JSON.stringify(after[key]));
    if (!untouched) throw error;
    return accept(await patch(`labels/${encodeURIComponent(name)}`, keys, daemon.version));
  }
}

/** Take over the answer to a change. */
export function accept({ version, label }) {
  daemon.version = version;
  daemon.labels.set(label.name, label);
  for (const [source, rule] of Object.entries(label.now)) setRule(source, label.name, rule);
  changed.labels.send();
  changed.rules.send(null);
  return label;
}

on.hello.on(({ bands_hz: bandsHz }) => {
  // After a break, others may have changed the labels.
  if (daemon.bandsHz.length) loadLabels().catch((error) => failed(error, "The labels could not be loaded"));
  daemon.bandsHz = bandsHz;
});
on.health.on((source) => {
  const known = daemon.sources.has(source.name);
  daemon.sources.set(source.name, { ...daemon.sources.get(source.name), ...source });
  changed.sources.send(known ? source.name : null);
});
on.level.on(({ source, ...level }) => {
  // Each second: who shows it listens to it, nothing else is drawn again.
  const known = daemon.sources.get(source);
  if (known) known.sound_level = level;
});
on.rules.on(({ source, rules }) => {
  daemon.rules.set(source, new Map(Object.entries(rules)));
  changed.rules.send(source);
});
on.labels.on(({ version }) => {
  // Not for what this page has just saved itself.
  if (version !== daemon.version) loadLabels().catch((error) => failed(error, "The labels could not be loaded"));
});
