"""A turn that takes a second request of the core, and remains one turn.

Structured output is written after the retrievals, on a line of its own. And a model that repeats
an answered tool call and writes nothing else goes on without that call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from onegen_integrations.shared.repeated_calls import CallTurn, current_turns
from onegen_integrations.shared.tool_choice import ToolChoice, Tools, normalise_choice
from onegen_model import (
    Conversation,
    Event,
    Message,
    Passage,
    PassagesInserted,
    RequestHandle,
    SamplingParams,
    Segment,
    Template,
    Token,
    ToolCall,
    Usage,
    render_tool_call,
)

# For the lines of all hops before structured output; the same as OneGenRetriever's.
_MAX_STEP_TOKENS = 256
_CALL_START = render_tool_call(ToolCall("", {})).split("\n")[0]


@dataclass(slots=True)
class WrittenTurn:
    """What the model has written and read in a turn: `span` since the last insertion."""

    span: str = ""
    segments: list[Segment] = field(default_factory=list)

    def feed(self, event: Event) -> None:
        """Take any event of the first request."""
        if isinstance(event, Token):
            self.span += event.text
        elif isinstance(event, PassagesInserted):
            passages = tuple(found.passage for found in event.passages)
            self.segments.append(Segment(self.span, True, passages))
            self.span = ""

    def drop_calls(self) -> None:
        """Forget the tool calls at the end."""
        self.span, _, _ = self.span.partition(_CALL_START)
        if self.span.lstrip().startswith(("{", "[")):  # A call without tags.
            self.span = ""

    def continued(self, conversation: Conversation, opening: str) -> Conversation:
        """The conversation in which the model goes on behind `opening`, on a new line."""
        steps = self.span.rstrip()
        last = Segment(f"{steps}\n{opening}" if steps else opening)
        segments = (*conversation.opening, *self.segments, last)
        messages = list(conversation.messages)
        while messages[-1].role == "assistant":
            messages.pop()
        messages.append(Message("assistant", segments=segments))
        return replace(conversation, messages=tuple(messages))


def written_segments(handle: RequestHandle, opening: Sequence[Segment]) -> list[Segment]:
    """An answer in the ids in which it was written: as a part of the next prompt it is not read
    again.

    `opening` is what the conversation of the finished request ends with.
    """
    texts = [span.text for span in handle.opening]
    found: list[tuple[Passage, ...] | None] = [
        one.passages if one.retrieves else None for one in opening
    ]
    found += [None] * (len(texts) - len(found))
    for event in handle.stream.events:
        if isinstance(event, Token):
            texts[-1] += event.text
        elif isinstance(event, PassagesInserted):
            found[-1] = tuple(one.passage for one in event.passages)
            texts.append("")
            found.append(None)
    return [
        Segment(text, passages is not None, passages or (), ids)
        for text, passages, ids in zip(texts, found, handle.answer().written, strict=True)
    ]


def with_calls(segments: Sequence[Segment], calls: Sequence[ToolCall]) -> list[Segment]:
    """An answer that ends with these calls, and no others."""
    *before, last = segments
    written = WrittenTurn(last.text)
    written.drop_calls()
    shown = [written.span.rstrip(), *map(render_tool_call, calls)]
    return [*before, Segment("\n".join(filter(None, shown)))]


def step_sampling(sampling: SamplingParams, template: Template) -> SamplingParams:
    """How the steps are written that lead to structured output: up to the answer."""
    return replace(
        sampling,
        stop=(*sampling.stop, template.answer_start),
        max_new_tokens=min(sampling.max_new_tokens, _MAX_STEP_TOKENS),
    )


def uncalled_tools(tools: Tools, turns: Sequence[CallTurn], choice: ToolChoice) -> Tools:
    """Where any call is forced: the tools that have not been called for the current question."""
    if normalise_choice(choice) != "any":
        return ()
    made = {name for turn in current_turns(turns) for name, _ in turn.calls}
    return [tool for tool in tools if tool["function"]["name"] not in made]


def add_usage(requests: Sequence[Usage]) -> Usage:
    """Usage of all requests of a turn as one: the final context, and what was computed for it."""
    first, last = requests[0], requests[-1]
    if first is last:
        return first
    length = last.prompt + last.inserted + last.written
    return replace(
        first,
        inserted=first.inserted + last.inserted,
        written=length - first.prompt - first.inserted - last.inserted,
        forwarded=first.forwarded + last.forwarded,
        padded=first.padded + last.padded,
    )
