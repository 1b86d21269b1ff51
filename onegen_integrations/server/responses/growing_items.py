"""Items of an output that grow, each with the events that build it up."""

import json
from dataclasses import dataclass, field
from typing import Any

from onegen_integrations.server.responses.items import Plain, new_id
from onegen_model import ToolCall


@dataclass(slots=True)
class GrowingItem:
    """An item; `index` is its place in the output. Events have no number of a sequence yet."""

    index: int
    plain: Plain

    def added(self) -> Plain:
        """The event of the item as it is now, before it grows."""
        begun = json.loads(json.dumps(self.plain))
        return {"type": "response.output_item.added", "output_index": self.index, "item": begun}

    def done(self) -> Plain:
        """The event of the whole item."""
        whole = json.loads(json.dumps(self.plain))
        return {"type": "response.output_item.done", "output_index": self.index, "item": whole}

    def event(self, name: str, /, **more: Any) -> Plain:
        """Any other event of the item."""
        about = {"item_id": self.plain["id"], "output_index": self.index}
        return {"type": f"response.{name}", **about, **more}


@dataclass(slots=True)
class ReasoningItem:
    """What the model writes before and between its searches, without the white space around it.

    It is a summary of one part, because that is what clients show.
    """

    item: GrowingItem
    _space: str = field(init=False, default="")

    @classmethod
    def begin(cls, index: int) -> tuple["ReasoningItem", list[Plain]]:
        """An empty item, and its first events."""
        item = GrowingItem(index, {"id": new_id("rs"), "type": "reasoning", "summary": []})
        added = item.added()
        part = {"type": "summary_text", "text": ""}
        item.plain["summary"].append(part)
        shown = item.event("reasoning_summary_part.added", summary_index=0, part=dict(part))
        return cls(item), [added, shown]

    @property
    def text(self) -> str:
        """What has been shown."""
        return str(self.item.plain["summary"][0]["text"])

    def write(self, text: str) -> list[Plain]:
        """Text, whose white space at the end is held until more follows."""
        text = (self._space + text) if self.text else text.lstrip()
        shown = text.rstrip()
        self._space = text[len(shown) :]
        if not shown:
            return []
        self.item.plain["summary"][0]["text"] += shown
        return [self.item.event("reasoning_summary_text.delta", summary_index=0, delta=shown)]

    def end(self) -> list[Plain]:
        """The last events."""
        part = dict(self.item.plain["summary"][0])
        return [
            self.item.event("reasoning_summary_text.done", summary_index=0, text=self.text),
            self.item.event("reasoning_summary_part.done", summary_index=0, part=part),
            self.item.done(),
        ]


@dataclass(slots=True)
class MessageItem:
    """The answer: one text with its citations."""

    item: GrowingItem

    @classmethod
    def begin(cls, index: int) -> tuple["MessageItem", list[Plain]]:
        """An empty message, and its first events."""
        about = {"id": new_id("msg"), "type": "message", "role": "assistant"}
        item = GrowingItem(index, {**about, "status": "in_progress", "content": []})
        added = item.added()
        part: Plain = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        item.plain["content"].append(part)
        shown = {**part, "annotations": []}
        return cls(item), [added, item.event("content_part.added", content_index=0, part=shown)]

    @property
    def part(self) -> Plain:
        """Text and citations."""
        part: Plain = self.item.plain["content"][0]
        return part

    def write(self, text: str) -> list[Plain]:
        """More text."""
        self.part["text"] += text
        return [self.item.event("output_text.delta", content_index=0, delta=text, logprobs=[])]

    def annotate(self, annotation: Plain) -> Plain:
        """A citation."""
        at = len(self.part["annotations"])
        self.part["annotations"].append(annotation)
        name = "output_text.annotation.added"
        return self.item.event(name, content_index=0, annotation_index=at, annotation=annotation)

    def end(self, status: str) -> list[Plain]:
        """The last events; `status` is completed or incomplete."""
        self.item.plain["status"] = status
        text, part = self.part["text"], json.loads(json.dumps(self.part))
        return [
            self.item.event("output_text.done", content_index=0, text=text, logprobs=[]),
            self.item.event("content_part.done", content_index=0, part=part),
            self.item.done(),
        ]


def call_events(index: int, call: ToolCall) -> tuple[Plain, list[Plain]]:
    """The item of a call of a function, which the model has written as a whole, and its events."""
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    about = {"id": new_id("fc"), "type": "function_call", "call_id": new_id("call")}
    begun = {**about, "name": call.name, "arguments": "", "status": "in_progress"}
    item = GrowingItem(index, begun)
    added = item.added()
    item.plain |= {"arguments": arguments, "status": "completed"}
    name = "function_call_arguments"
    return item.plain, [
        added,
        item.event(f"{name}.delta", delta=arguments),
        item.event(f"{name}.done", name=call.name, arguments=arguments),
        item.done(),
    ]
