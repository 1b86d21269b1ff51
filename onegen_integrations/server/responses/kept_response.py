"""A response with all that its continuation needs, and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onegen_integrations.server.keys import Caller
from onegen_integrations.server.responses.items import Plain, without_results
from onegen_integrations.shared.json_values import json_metadata
from onegen_model import Message, Passage, Segment


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """A response of an owner.

    `body` is what was answered, with the results of searches. `items` are what it was made from,
    those of earlier turns included. `messages` are all that the model has read and written but the
    instructions, in the ids in which it was written.
    """

    owner: Plain
    body: Plain
    items: Sequence[Plain]
    messages: tuple[Message, ...]

    @property
    def id(self) -> str:
        """The id of the response."""
        return str(self.body["id"])

    @property
    def context(self) -> list[Plain]:
        """The items of the conversation, the answer included."""
        return [*self.items, *map(without_results, self.body["output"])]

    def dump(self) -> bytes:
        """Inverse of `load`."""
        plain = {
            "owner": self.owner,
            "body": self.body,
            "items": list(self.items),
            "messages": [_plain_message(one) for one in self.messages],
        }
        return json.dumps(plain).encode()

    @classmethod
    def load(cls, content: bytes) -> "KeptResponse":
        """Raises ValueError, TypeError or KeyError for anything else than `dump` makes."""
        plain = json.loads(content)
        messages = tuple(_message(one) for one in plain["messages"])
        return cls(plain["owner"], plain["body"], plain["items"], messages)


def owner_of(caller: Caller) -> Plain:
    """Who may ask for a response: the key that made it, as long as it has the same scope."""
    scope = json.loads(json.dumps(caller.scope, default=dict))
    return {"name": caller.name, "scope": scope}


def _plain_message(message: Message) -> Plain:
    segments = [
        {
            "text": one.text,
            "retrieves": one.retrieves,
            "passages": [_plain_passage(passage) for passage in one.passages],
            "ids": None if one.ids is None else list(one.ids),
        }
        for one in message.segments
    ]
    return {"role": message.role, "text": message.text, "segments": segments}


def _plain_passage(passage: Passage) -> Plain:
    metadata = json_metadata(passage.metadata)
    about = {"id": passage.id, "title": passage.title, "text": passage.text}
    return {**about, "metadata": metadata}


def _message(plain: Mapping[str, Any]) -> Message:
    segments = tuple(
        Segment(
            one["text"],
            one["retrieves"],
            tuple(Passage(**passage) for passage in one["passages"]),
            None if one["ids"] is None else tuple(one["ids"]),
        )
        for one in plain["segments"]
    )
    return Message(plain["role"], plain["text"], segments)
