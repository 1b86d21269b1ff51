"""An answer as the items of a response's output, and the events that build them up."""

from collections.abc import Callable
from dataclasses import dataclass, field

from onegen_integrations.server.answering import (
    AnswerEnded,
    AnswerPiece,
    CitedSpan,
    ReasoningPiece,
    SearchBegun,
    SearchEnded,
    TextPiece,
)
from onegen_integrations.server.responses.annotations import Sources
from onegen_integrations.server.responses.growing_items import (
    GrowingItem,
    MessageItem,
    ReasoningItem,
    call_events,
)
from onegen_integrations.server.responses.items import Plain, new_id, without_results
from onegen_model import InvalidToolCall, ToolCall, Usage


@dataclass(slots=True)
class OutputItems:
    """Feed every piece of a turn; `items` are complete after the last one.

    There is one message, which stays open up to the end for its citations: what the model reasons
    and calls behind its beginning follows it. Events have no number of a sequence yet.
    """

    sources: Sources
    shows_results: bool = False
    items: list[Plain] = field(init=False, default_factory=list)
    usage: Usage = field(init=False, default_factory=Usage)
    is_cut: bool = field(init=False, default=False)
    _reasoning: ReasoningItem | None = field(init=False, default=None)
    _message: MessageItem | None = field(init=False, default=None)
    _search: GrowingItem | None = field(init=False, default=None)
    _late: list[ReasoningPiece | ToolCall] = field(init=False, default_factory=list)
    _invalid: str = field(init=False, default="")

    def feed(self, piece: AnswerPiece) -> list[Plain]:
        """Events that build up what a piece adds."""
        match piece:
            case ReasoningPiece() | ToolCall():
                if self._message is None:
                    return self._lead(piece)
                self._late.append(piece)
            case TextPiece():
                return [*self._end_reasoning(), *self._write(piece.text)]
            case SearchBegun():
                return [*self._end_reasoning(), *self._begin_search(piece)]
            case SearchEnded():
                return self._end_search(piece)
            case InvalidToolCall():
                self._invalid += piece.text
            case CitedSpan():
                if self._message is not None:
                    annotations = self.sources.annotations(piece)
                    return [self._message.annotate(one) for one in annotations]
            case AnswerEnded():
                return self._end(piece)
        return []

    def count_reasoning(self, count_tokens: Callable[[str], int]) -> int:
        """How many of the written tokens are reasoning, as the tokenizer counts its text."""
        parts = [one["summary"][0]["text"] for one in self.items if one["type"] == "reasoning"]
        return min(self.usage.written, sum(map(count_tokens, parts)))

    def shown(self) -> list[Plain]:
        """The items as the request wants to see them."""
        return self.items if self.shows_results else list(map(without_results, self.items))

    def _lead(self, piece: ReasoningPiece | ToolCall) -> list[Plain]:
        if isinstance(piece, ToolCall):
            before = self._end_reasoning()
            item, events = call_events(len(self.items), piece)
            self.items.append(item)
            return [*before, *events]
        begun: list[Plain] = []
        if self._reasoning is None:
            if not piece.text.strip():
                return []
            self._reasoning, begun = ReasoningItem.begin(len(self.items))
            self.items.append(self._reasoning.item.plain)
        return [*begun, *self._reasoning.write(piece.text)]

    def _end_reasoning(self) -> list[Plain]:
        ended, self._reasoning = self._reasoning, None
        return ended.end() if ended else []

    def _write(self, text: str) -> list[Plain]:
        begun: list[Plain] = []
        if self._message is None:
            self._message, begun = MessageItem.begin(len(self.items))
            self.items.append(self._message.item.plain)
        return [*begun, *(self._message.write(text) if text else [])]

    def _begin_search(self, search: SearchBegun) -> list[Plain]:
        about = {"id": new_id("fs"), "type": "file_search_call", "queries": [search.query]}
        item = GrowingItem(len(self.items), {**about, "status": "in_progress", "results": None})
        self.items.append(item.plain)
        self._search = item
        begun = item.added()
        item.plain["status"] = "searching"
        names = ("in_progress", "searching")
        return [begun, *(item.event(f"file_search_call.{name}") for name in names)]

    def _end_search(self, search: SearchEnded) -> list[Plain]:
        item, self._search = self._search, None
        if item is None:
            return []
        item.plain |= {"status": "completed", "results": self.sources.results(search.passages)}
        done = item.done()
        if not self.shows_results:
            done["item"] = without_results(done["item"])
        return [item.event("file_search_call.completed"), done]

    def _end(self, end: AnswerEnded) -> list[Plain]:
        self.usage, self.is_cut = end.usage, end.reason == "length"
        events = self._end_reasoning()
        has_calls = any(one["type"] == "function_call" for one in self.items)
        if self._invalid:  # Behind the answer, whose citations count its characters.
            events += self._write(self._invalid)
        elif self._message is None and not (has_calls or self.is_cut):
            events += self._write("")
        if self._message is not None:
            events += self._message.end("incomplete" if self.is_cut else "completed")
        for piece in self._late:
            events += self._lead(piece)
        return [*events, *self._end_reasoning()]
