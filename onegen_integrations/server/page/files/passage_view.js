// A dialog with one passage, as the server keeps it, and the way to its neighbours.

import { byId, element, say } from "./dom.js";
import { callJson } from "./server.js";

const dialog = byId("passage");
let latest = 0; // Answers of earlier requests are not shown.

byId("passage-close").addEventListener("click", () => dialog.close());

// `text` and `title` are shown until the server has answered; `cited` is marked in the text.
export async function openPassage({ id, title = "", text = "", cited = "" }) {
  const mine = ++latest;
  fill({ id, title, text }, cited);
  if (!dialog.open) dialog.showModal();
  try {
    const found = await callJson(`v1/documents/${encodeURIComponent(id)}`);
    if (mine === latest) fill(found, cited);
  } catch (error) {
    if (mine === latest) say(byId("passage-problem"), error.message);
  }
}

function fill(passage, cited) {
  byId("passage-title").textContent = passage.title || passage.id;
  say(byId("passage-place"), placeOf(passage));
  byId("passage-text").replaceChildren(...marked(passage.text, cited));
  say(byId("passage-problem"), "");
  for (const side of ["previous", "next"]) {
    const button = byId(`passage-${side}`);
    const id = passage[side]?.split("/v1/documents/").at(-1);
    button.hidden = !id;
    button.onclick = () => openPassage({ id: decodeURIComponent(id), cited });
  }
}

function placeOf({ filename, place }) {
  const parts = [filename || place?.source, ...(place?.headings ?? [])];
  if (place?.pages) parts.push(`page ${range(place.pages)}`);
  else if (place?.lines) parts.push(`line ${range(place.lines)}`);
  return parts.filter(Boolean).join(" · ");
}

const range = ([first, last]) => (first === last ? first : `${first} to ${last}`);

function marked(text, cited) {
  const at = cited ? text.indexOf(cited) : -1;
  if (at < 0) return [text];
  const end = at + cited.length;
  return [text.slice(0, at), element("mark", {}, text.slice(at, end)), text.slice(end)];
}
