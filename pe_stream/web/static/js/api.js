// The daemon's web API. All addresses are relative: the page may sit below a prefix.

const BASE = "api/v1/";

/** What the daemon refused, in its own words. `status` 0: it was not reached. */
export class ApiError extends Error {
  /** @param {number} status @param {string} detail @param {number|null} [retryAfterS] */
  constructor(status, detail, retryAfterS = null) {
    super(detail);
    this.name = "ApiError";
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

let onLogin = () => {};

/** `callback` is called when an answer says that a login is needed. */
export function whenLoginIsNeeded(callback) {
  onLogin = callback;
}

/** @param {string} path below api/v1 @param {object} [parameters] empty ones are left out */
export function address(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(key, value);
  }
  return BASE + path + (query.size ? `?${query}` : "");
}

export const get = (path, parameters, options) => ask("GET", address(path, parameters), options);
export const post = (path, body, options) => ask("POST", address(path), { body, ...options });
export const put = (path, body, version) => ask("PUT", address(path), { body, version });
export const patch = (path, body, version) => ask("PATCH", address(path), { body, version });
export const remove = (path, version) => ask("DELETE", address(path), { body: {}, version });

/**
 * @param {string} method
 * @param {string} url
 * @param {{body?: any, version?: string, signal?: AbortSignal}} [options]
 */
async function ask(method, url, { body, version, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["Content-Type"] = "application/json";
  if (version) headers["If-Match"] = `"${version}"`;
  let response;
  try {
    response = await fetch(url, {
      method, headers, signal, cache: "no-store", credentials: "same-origin",
      body: method === "GET" ? undefined : JSON.stringify(body ?? {}),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "pe_stream cannot be reached. Is it running, and is this device on its network?");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  const isSession = url === `${BASE}session`;
  if (response.status === 401 && !isSession) onLogin();
  const after = Number(response.headers.get("Retry-After"));
  throw new ApiError(response.status, words(answer, response.status), after || null);
}

function words(answer, status) {
  const detail = answer?.detail;
  if (typeof detail === "string" && detail) return detail;
  if (Array.isArray(detail)) return detail.map((one) => one.msg ?? String(one)).join("\n");
  return `pe_stream answered with an error (${status}).`;
}
