// Clock times in the daemon's time zone, whatever the browser's is.

let zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const formats = new Map();

/** @param {string|null} name as `info` has it; null keeps the browser's */
export function useZone(name) {
  if (!name) return;
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    zone = name;
    formats.clear();
  } catch {
    // A zone that this browser does not know: its own is the best there is.
  }
}

export const zoneName = () => zone;

function format(key, options) {
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options }));
  return formats.get(key);
}

/** 14:03:07 */
export const clock = (when) =>
  format("clock", { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(new Date(when));

/** Saturday 21 November 2026 */
export const longDay = (when) =>
  format("long", { weekday: "long", day: "numeric", month: "long", year: "numeric" }).format(new Date(when));

/** Sat 21 Nov */
export const shortDay = (when) =>
  format("short", { weekday: "short", day: "numeric", month: "short" }).format(new Date(when));

/** CET, GMT+1, ...: what the zone is called at that moment. */
export function zoneAt(when) {
  const parts = format("zone", { timeZoneName: "short" }).formatToParts(new Date(when));
  return parts.find((part) => part.type === "timeZoneName").value;
}

/** Local date and hour: {date: "2026-11-21", hour: 14} */
export function localDate(when) {
  const parts = format("parts", {
    year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
    hourCycle: "h23",
  }).formatToParts(new Date(when));
  const of = Object.fromEntries(parts.map((part) => [part.type, part.value]));
  return {
    date: `${of.year}-${of.month}-${of.day}`, hour: Number(of.hour),
    wall: Date.UTC(of.year, of.month - 1, of.day, of.hour, of.minute, of.second),
  };
}

/** The moment at which the daemon's local time is that date and time. @param {string} date @returns {Date} */
export function moment(date, hours = 0, minutes = 0) {
  const [year, month, day] = date.split("-").map(Number);
  const wall = Date.UTC(year, month - 1, day, hours, minutes);
  // The offset depends on the moment itself; the second round is right also around a change of the clock.
  let guess = wall;
  for (let round = 0; round < 2; round += 1) guess += wall - localDate(guess).wall;
  return new Date(guess);
}

/** The date `days` after another, by the calendar. */
export function addDays(date, days) {
  const [year, month, day] = date.split("-").map(Number);
  return new Date(Date.UTC(year, month - 1, day + days)).toISOString().slice(0, 10);
}

/** "2026-11-21T14:03" as a datetime-local input has it, both ways. */
export function toInput(when) {
  return new Date(localDate(when).wall).toISOString().slice(0, 16);
}
export function fromInput(text) {
  const [date, time] = text.split("T");
  const [hours, minutes] = (time ?? "00:00").split(":").map(Number);
  return moment(date, hours, minutes);
}
