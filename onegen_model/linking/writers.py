"""What is written for one window of a text: sans I/O, without a tensor.

A writer proposes ids to read and says which of them decide something; it takes back how much more
likely a tag is there than the text. Outside of a mention, and inside of one, the next token of the
text is known: a writer proposes several of them at once, a draft, which ends where the model begins
or ends a mention. Whatever the length of the drafts, the same tags are written.

A mention is written where the probability that it begins there, times the probability that it ends
there and not before, exceeds a threshold. What has begun and can no longer reach the threshold at
any end is taken back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import exp
from sys import maxsize
from typing import Protocol

from onegen_model.transcript.linking_renderer import LinkingRenderer
from onegen_model.transcript.text_tokens import Range, TextTokens


@dataclass(frozen=True, slots=True)
class Decision:
    """Behind id `place` of a plan comes id `tag` or id `text`."""

    place: int
    tag: int
    text: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Ids to read behind the first `start` positions; `links` are the places of link tokens."""

    start: int
    ids: tuple[int, ...]
    links: tuple[int, ...]
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True)
class WritingLimits:
    """`draft` tokens are read ahead of a decision outside of a mention, `inner_draft` inside.

    A window with its prompt and tags has at most `room` positions: where they are used up no
    further mention begins. `threshold` is the `mention_threshold` of `LinkingParams`.
    """

    draft: int = 16
    inner_draft: int = 4
    max_mention_tokens: int = 24
    threshold: float = 0.5
    room: int = maxsize


@dataclass(slots=True)
class Counts:
    """Positions of one window, see `LinkingUsage`."""

    length: int = 0
    forwarded: int = 0
    discarded: int = 0
    steps: int = 0


class Writer(Protocol):
    """Writes one window."""

    counts: Counts

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to be read."""
        ...

    def plan(self) -> Plan:
        """What is to be read next."""
        ...

    def accept(self, margins: Sequence[float]) -> list[Range]:
        """Take the outcome of the plan: for each decision the logit of the tag minus that of the
        text. Returns the mentions, ranges of tokens, of the plan's links."""
        ...


@dataclass(frozen=True, slots=True)
class _Begun:
    """An open mention, and what was written when it began: `read` positions, ids that were not
    read, and `length` in all."""

    at: int
    least_end: int
    read: int
    pending: tuple[int, ...]
    length: int


@dataclass(slots=True)
class DetectingWriter:
    """Writes a window in which the model finds the mentions."""

    renderer: LinkingRenderer
    tokens: TextTokens
    prompt: Sequence[int]
    limits: WritingLimits = field(default_factory=WritingLimits)
    counts: Counts = field(default_factory=Counts)
    _pending: list[int] = field(init=False)
    _links: list[tuple[int, Range]] = field(init=False, default_factory=list)
    _read: int = field(init=False, default=0)
    _next: int = field(init=False, default=0)
    _begun: _Begun | None = field(init=False, default=None)
    # That the open mention begins where it does and has not ended yet.
    _probability: float = field(init=False, default=1.0)
    _plan: Plan | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._pending = [*self.prompt]
        self.counts.length = len(self.prompt)

    @property
    def is_finished(self) -> bool:
        return self._next == len(self.tokens) and self._begun is None and not self._links

    def plan(self) -> Plan:
        pending = len(self._pending)
        draft = self.limits.draft if self._begun is None else self._inner_draft()
        ahead = self.tokens.ids[self._next : self._next + draft]
        decisions = []
        for step in range(len(ahead) + 1):
            at = self._next + step
            if at < len(self.tokens):
                text = self.tokens.ids[at]
                if (tag := self._tag(at)) not in (None, text):
                    decisions.append(Decision(pending - 1 + step, tag, text))
        links = tuple(place for place, _ in self._links)
        self._plan = Plan(self._read, (*self._pending, *ahead), links, tuple(decisions))
        return self._plan

    def _inner_draft(self) -> int:
        left = self._limit() - self._next
        return max(0, min(self.limits.inner_draft, left))

    def _limit(self) -> int:
        """Where the open mention ends at the latest."""
        assert self._begun is not None
        longest = max(self._begun.at + self.limits.max_mention_tokens, self._begun.least_end)
        behind = range(min(longest, len(self.tokens)), len(self.tokens) + 1)
        before = range(len(self.tokens), self._begun.at, -1)
        return next(at for at in chain(behind, before) if self.tokens.may_end(at))

    def _tag(self, at: int) -> int | None:
        """The first id of the tag that may stand in front of token `at`."""
        if self._begun is not None:
            may_end = at >= self._begun.least_end and self.tokens.may_end(at)
            return self.renderer.closing[0] if may_end else None
        if not self.tokens.may_begin(at):
            return None
        opening = self.renderer.opening(self.tokens, at)
        tags = len(opening.ids) - opening.width + len(self.renderer.closing)
        rest = len(self.tokens) - self._next
        return opening.ids[0] if self.counts.length + rest + tags <= self.limits.room else None

    def accept(self, margins: Sequence[float]) -> list[Range]:
        plan = self._plan
        assert plan is not None
        closed = [mention for _, mention in self._links]
        pending, first = len(self._pending), self._next
        drafted = len(plan.ids) - pending
        places = (first + one.place - (pending - 1) for one in plan.decisions)
        found = self._decide(dict(zip(places, map(_sigmoid, margins), strict=True)))
        end = len(self.tokens) if self._begun is None else self._limit()
        stop = min(end if found is None else found, first + drafted + 1)
        kept = min(stop - first, drafted)
        self.counts.forwarded += len(plan.ids)
        self.counts.discarded += drafted - kept
        self.counts.steps += 1
        self._read += pending + kept
        self._links = []
        self._pending = list(self.tokens.ids[first + kept : stop])
        self._next = stop
        self.counts.length += stop - first
        if self._begun is None:
            if stop == found:
                self._open(stop)
        elif stop == found or (stop == len(self.tokens) and self._may_reach()):
            self._close(stop)
        elif first + drafted >= end or not self._may_reach():
            self._take_back()
        return closed

    def _decide(self, tags: Mapping[int, float]) -> int | None:
        """Where the next tag comes, of the places whose probability of a tag is known."""
        for at, tag in tags.items():
            if self._begun is None:
                if tag > self.limits.threshold:
                    self._probability = tag
                    return at
            elif self._probability * tag > self.limits.threshold:
                return at
            else:
                self._probability *= 1 - tag
        return None

    def _may_reach(self) -> bool:
        return self._probability > self.limits.threshold

    def _open(self, at: int) -> None:
        opening = self.renderer.opening(self.tokens, at)
        written = (self._read, tuple(self._pending), self.counts.length)
        self._begun = _Begun(at, at + opening.width, *written)
        self._pending += opening.ids
        self.counts.length += len(opening.ids)
        self._next = self._begun.least_end

    def _take_back(self) -> None:
        """Go on behind the first token of what is no mention, as if none had begun."""
        begun = self._begun
        assert begun is not None
        self.counts.discarded += self._read - begun.read
        self.counts.length = begun.length + 1
        self._read = begun.read
        self._pending = [*begun.pending, self.tokens.ids[begun.at]]
        self._next = begun.at + 1
        self._begun = None

    def _close(self, at: int) -> None:
        assert self._begun is not None
        link = len(self._pending) + self.renderer.link_place
        self._links = [(link, (self._begun.at, at))]
        self._pending += self.renderer.closing
        self.counts.length += len(self.renderer.closing)
        self._begun = None


def _sigmoid(margin: float) -> float:
    return 1 / (1 + exp(-margin)) if margin > 0 else exp(margin) / (1 + exp(margin))


@dataclass(slots=True)
class MarkingWriter:
    """Writes a window whose mentions are given, all at once."""

    renderer: LinkingRenderer
    tokens: TextTokens
    prompt: Sequence[int]
    mentions: Sequence[Range]
    counts: Counts = field(default_factory=Counts)
    _forwarded: int = field(init=False, default=0)

    @property
    def is_finished(self) -> bool:
        return not self.mentions or self.counts.steps > 0

    def plan(self) -> Plan:
        marked = self.renderer.marked(self.tokens, self.mentions)
        links = tuple(len(self.prompt) + link for link in marked.links)
        # What stands behind the last link token decides nothing.
        ids = (*self.prompt, *marked.ids)
        self.counts.length = len(ids)
        self._forwarded = links[-1] + 1
        return Plan(0, ids[: self._forwarded], links)

    def accept(self, margins: Sequence[float]) -> list[Range]:
        self.counts.forwarded = self._forwarded
        self.counts.steps = 1
        return list(self.mentions)
