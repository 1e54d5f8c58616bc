// What the whole page knows: the daemon's facts, its sources and labels, kept up to date.

import { get, patch } from "./api.js";
import { Signal } from "./signal.js";
import { on } from "./stream.js";
import { failed } from "./toasts.js";
import { useZone } from "./zone.js";

export const house = {
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
  house.info = info;
  useZone(info.timezone);
  changed.info.send(info);
}

function takeSources(sources) {
  house.sources = new Map(sources.map((source) => [source.name, source]));
  changed.sources.send();
}

function takeLabels({ version, labels }) {
  house.version = version;
  house.labels = new Map(labels.map((label) => [label.name, label]));
  house.rules = new Map();
  for (const label of labels) {
    for (const [source, rule] of Object.entries(label.now)) setRule(source, label.name, rule);
  }
  changed.labels.send();
  changed.rules.send(null);
}

function setRule(source, label, rule) {
  if (!house.rules.has(source)) house.rules.set(source, new Map());
  house.rules.get(source).set(label, rule);
}

/** The rule in force, or null where the label is not listened for at that source. */
export const ruleOf = (source, label) => house.rules.get(source)?.get(label) ?? null;

/** Names of the labels that are listened for at a source, in the order configured. */
export function labelsAt(source) {
  return [...house.labels.values()].filter((label) => source in label.now).map((label) => label.name);
}

export const isWritable = () => house.info?.config.writable ?? false;
export const whyNotWritable = () => house.info?.config.reason ?? "";

/**
 * Change keys of a label. Where someone else changed the file meanwhile, but not these keys of this
 * label, the change is made on the new version.
 * @returns {Promise<object>} the label as it is now
 */
export async function changeLabel(name, keys) {
  const before = house.labels.get(name);
  try {
    return accept(await patch(`labels/${encodeURIComponent(name)}`, keys, house.version));
  } catch (error) {
    if (error.status !== 412) throw error;
    await loadLabels();
    const after = house.labels.get(name);
    const untouched = after && Object.keys(keys).every((key) => JSON.stringify(before?.[key]) === JSON.stringify(after[key]));
    if (!untouched) throw error;
    return accept(await patch(`labels/${encodeURIComponent(name)}`, keys, house.version));
  }
}

/** Take over the answer to a change. */
export function accept({ version, label }) {
  house.version = version;
  house.labels.set(label.name, label);
  for (const [source, rule] of Object.entries(label.now)) setRule(source, label.name, rule);
  changed.labels.send();
  changed.rules.send(null);
  return label;
}

on.hello.on(({ bands_hz: bandsHz }) => {
  // After a break, others may have changed the labels.
  if (house.bandsHz.length) loadLabels().catch((error) => failed(error, "The labels could not be loaded"));
  house.bandsHz = bandsHz;
});
on.health.on((source) => {
  const known = house.sources.has(source.name);
  house.sources.set(source.name, { ...house.sources.get(source.name), ...source });
  changed.sources.send(known ? source.name : null);
});
on.rules.on(({ source, rules }) => {
  house.rules.set(source, new Map(Object.entries(rules)));
  changed.rules.send(source);
});
on.labels.on(({ version }) => {
  // Not for what this page has just saved itself.
  if (version !== house.version) loadLabels().catch((error) => failed(error, "The labels could not be loaded"));
});
