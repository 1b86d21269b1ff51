// Requests to the server that the page comes from, with the key of its reader.

const KEY = "onegen-key";

export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

let kept = null; // Where the browser keeps nothing.
let askForKey = () => {};

export function onMissingKey(ask) {
  askForKey = ask;
}

export function currentKey() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return kept;
  }
}

export function useKey(key) {
  kept = key;
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // It is in `kept`.
  }
}

// `path` has no slash at its beginning, so that the server may lie below another path.
export async function call(path, { method = "GET", json, form, signal } = {}) {
  const headers = {};
  const key = currentKey();
  if (key) headers.Authorization = `Bearer ${key}`;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const body = json === undefined ? form : JSON.stringify(json);
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), { method, headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  if (response.status === 401) askForKey(Boolean(key));
  throw new ServerError(await problemOf(response), response.status);
}

export async function callJson(path, options) {
  return (await call(path, options)).json();
}

// Every item of a list that comes page by page, the oldest first.
export async function listAll(path) {
  const items = [];
  for (let after = ""; ; ) {
    const page = await callJson(`${path}?limit=100&order=asc${after}`);
    items.push(...page.data);
    if (!page.has_more) return items;
    after = `&after=${encodeURIComponent(page.last_id)}`;
  }
}

async function problemOf(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered with status ${response.status}. Try again, or see its log.`;
  }
}
