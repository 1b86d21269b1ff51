// Which part of an answer rests on which passages.

import { characters } from "./dom.js";

// Parts of `text` in order: `{text, citations, ended}`. `citations` are those of url_citation that
// cover the part, and `ended` those that end with it. Spans may overlap.
export function citedParts(text, citations) {
  const all = characters(text);
  const spans = citations
    .map((one) => ({ one, start: clamp(one.start_index), end: clamp(one.end_index) }))
    .filter(({ start, end }) => start < end);
  const cuts = [...new Set([0, all.length, ...spans.flatMap(({ start, end }) => [start, end])])];
  cuts.sort((a, b) => a - b);
  return cuts.slice(1).map((end, at) => ({
    text: all.slice(cuts[at], end).join(""),
    citations: spans.filter((span) => span.start <= cuts[at] && span.end >= end).map(only),
    ended: spans.filter((span) => span.end === end).map(only),
  }));

  function clamp(index) {
    return Math.min(Math.max(index, 0), all.length);
  }
}

const only = ({ one }) => one;
