// A text whose mentions are linked to entities.

import { byId, characters, element, say } from "./dom.js";
import { callJson } from "./server.js";

export function startLinking(chooseModel) {
  byId("link").addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = byId("link-button");
    button.disabled = true;
    say(byId("link-problem"), "");
    try {
      const json = { model: chooseModel(), text: byId("text").value };
      show(await callJson("v1/link", { method: "POST", json }));
    } catch (error) {
      say(byId("link-problem"), error.message);
    } finally {
      button.disabled = false;
    }
  });
}

function show({ text, mentions }) {
  const all = characters(text);
  const parts = [];
  let at = 0;
  for (const mention of mentions) {
    parts.push(all.slice(at, mention.start).join(""), shownMention(mention));
    at = mention.end;
  }
  byId("linked-text").replaceChildren(...parts, all.slice(at).join(""));
  byId("candidates").replaceChildren(mentions.length ? "" : "No mention was found.");
  byId("linked").hidden = false;
}

function shownMention(mention) {
  const open = () => showCandidates(mention);
  const className = mention.entity ? "mention" : "mention unknown";
  const name = mention.entity?.name ?? "no entity";
  return element(
    "button",
    { type: "button", className, onfocus: open, onmouseenter: open, onclick: open },
    mention.surface,
    element("small", {}, ` ${name}`),
  );
}

function showCandidates({ surface, entity, candidates }) {
  const rows = candidates.map((one) =>
    element(
      "li",
      { className: one.id === entity?.id ? "chosen" : "" },
      element("strong", {}, one.name),
      element("span", { className: "faint" }, ` ${one.score.toFixed(2)} · ${one.id}`),
      element("div", {}, one.description),
    ),
  );
  byId("candidates").replaceChildren(
    element("h3", {}, `Candidates for “${surface}”`),
    rows.length ? element("ol", {}, ...rows) : element("p", {}, "There are none."),
  );
}
