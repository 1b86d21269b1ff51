// The turns of a conversation, as the model reads them.

import { readEvents } from "./events.js";
import { call } from "./server.js";

export class Conversation {
  #messages = [];

  // Asks, and hands each piece of the answer to `view`: write, think, retrieve, cite, count.
  // A turn that was stopped or failed is kept as far as it was written.
  async ask(question, options, view, signal) {
    const asked = { role: "user", content: question };
    let written = "";
    try {
      const response = await call("v1/chat/completions", {
        method: "POST",
        signal,
        json: {
          ...options,
          messages: [...this.#messages, asked],
          stream: true,
          stream_options: { include_usage: true },
        },
      });
      for await (const chunk of readEvents(response)) {
        for (const { delta, finish_reason: reason } of chunk.choices) {
          written += delta.content ?? "";
          show(delta, view);
          if (reason === "length") view.note("The answer is cut off at its longest length.");
        }
        if (chunk.usage) view.count(chunk.usage);
      }
    } finally {
      if (written) this.#messages.push(asked, { role: "assistant", content: written });
    }
  }

  clear() {
    this.#messages = [];
  }
}

function show(delta, view) {
  if (delta.reasoning_content) view.think(delta.reasoning_content);
  for (const retrieval of delta.onegen?.retrievals ?? []) view.retrieve(retrieval);
  if (delta.content) view.write(delta.content);
  const citations = (delta.annotations ?? []).filter((one) => one.type === "url_citation");
  if (citations.length) view.cite(citations.map((one) => one.url_citation));
}
