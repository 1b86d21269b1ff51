// One turn on the page: a question, the steps, the passages, the answer and its counters.

import { citedParts } from "./citations.js";
import { element } from "./dom.js";

export class AnswerView {
  // `open` shows a passage: {id, title, text, cited}.
  constructor(question, open) {
    this.open = open;
    this.text = "";
    this.passages = new Map(); // id -> what was retrieved
    this.citations = [];
    this.numbers = new Map(); // id of a cited passage -> its number in this turn
    this.steps = element("p", { className: "written" });
    this.folded = element(
      "details",
      { className: "steps", hidden: true },
      element("summary", {}, "Steps"),
      this.steps,
    );
    this.retrievals = element("div", { className: "retrievals" });
    this.answer = element("p", { className: "answer written" });
    this.notes = element("p", { className: "faint" });
    this.counters = element("dl", { className: "counters" });
    this.root = element(
      "article",
      { "aria-busy": "true" },
      element("p", { className: "question written" }, question),
      this.folded,
      this.retrievals,
      this.answer,
      this.notes,
      this.counters,
    );
  }

  think(text) {
    this.folded.hidden = false;
    this.steps.append(text);
  }

  write(text) {
    this.text += text;
    this.answer.append(text);
  }

  retrieve({ hop, query, passages, reason }) {
    this.think(`\n[search ${hop + 1}]\n`);
    const list = element("ul");
    for (const passage of passages) {
      this.passages.set(passage.id, passage);
      list.append(element("li", {}, this.#card(passage, hop + 1)));
    }
    const nothing = reason ? `Nothing was inserted: ${reason}` : "Nothing was found.";
    this.retrievals.append(
      element("p", { className: "faint" }, `Search ${hop + 1}: ${query.trim()}`),
      passages.length ? list : element("p", {}, nothing),
    );
  }

  // Highlights the cited spans; a button behind each opens its passage.
  cite(citations) {
    this.citations.push(...citations);
    for (const { document_id: id } of citations) {
      if (!this.numbers.has(id)) this.numbers.set(id, this.numbers.size + 1);
    }
    this.answer.replaceChildren();
    for (const part of citedParts(this.text, this.citations)) {
      this.answer.append(this.#cited(part), ...part.ended.map((one) => this.#chip(one)));
    }
    for (const card of this.retrievals.querySelectorAll("[data-passage]")) {
      const number = this.numbers.get(card.dataset.passage);
      if (number) card.querySelector(".number").textContent = `[${number}] `;
    }
  }

  count(usage) {
    const details = usage.prompt_tokens_details ?? {};
    const retrieved = details.retrieved_tokens ?? 0;
    const counted = {
      prompt: usage.prompt_tokens - retrieved,
      retrieved,
      cached: details.cached_tokens ?? 0,
      written: usage.completion_tokens,
    };
    if (usage.onegen) counted["positions read"] = usage.onegen.forwarded;
    for (const [name, number] of Object.entries(counted)) {
      const shown = element("dd", {}, number.toLocaleString("en"));
      this.counters.append(element("div", {}, element("dt", {}, name), shown));
    }
  }

  note(text) {
    this.notes.append(element("span", {}, `${text} `));
  }

  fail(text) {
    this.notes.append(element("span", { className: "problem", role: "alert" }, text));
  }

  end() {
    this.root.setAttribute("aria-busy", "false");
    if (!this.text) this.answer.remove();
  }

  #card(passage, hop) {
    const score = typeof passage.score === "number" ? `score ${passage.score.toFixed(2)} · ` : "";
    return element(
      "button",
      {
        type: "button",
        className: "passage",
        "data-passage": passage.id,
        onclick: () => this.open(passage),
      },
      element("span", { className: "number" }),
      element("strong", {}, passage.title || passage.id),
      element("span", { className: "faint" }, `${score}hop ${hop}`),
      element("span", { className: "beginning" }, passage.text),
    );
  }

  #cited({ text, citations }) {
    if (!citations.length) return document.createTextNode(text);
    // For the mouse; the buttons behind it are for everybody.
    return element("mark", { onclick: () => this.#follow(citations[0]) }, text);
  }

  #chip(citation) {
    const number = this.numbers.get(citation.document_id);
    return element(
      "button",
      {
        type: "button",
        className: "citation",
        title: citation.title,
        "aria-label": `Source ${number}: ${citation.title}`,
        onclick: () => this.#follow(citation),
      },
      `[${number}]`,
    );
  }

  #follow({ document_id: id, title, cited_text: cited }) {
    this.open({ title, ...this.passages.get(id), id, cited });
  }
}
