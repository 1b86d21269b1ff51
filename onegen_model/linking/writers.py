"""What is written for one window of a text: sans I/O, without a tensor.

A writer proposes ids to read and says which of them decide something; it takes back how much more
likely a tag is there than the text. Between two tags the next token of the text is known, and where
tags come can be guessed: a writer proposes several ids at once, a draft, which is kept up to the
first decision that it has not foreseen. Whatever the drafts, the same tags are written.

A mention is written where the probability that it begins there, times the probability that it ends
there and not before, exceeds a threshold. What has begun and can no longer reach the threshold at
any end is taken back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp
from typing import Protocol

from onegen_model.linking.guesses import Guesses
from onegen_model.linking.tagging import Choice, Piece, Place, Tagging, WritingLimits
from onegen_model.transcript.linking_renderer import LinkingRenderer
from onegen_model.transcript.text_tokens import Range, TextTokens


@dataclass(frozen=True, slots=True)
class Decision:
    """`choice` is made behind id `at` of a plan."""

    at: int
    choice: Choice


@dataclass(frozen=True, slots=True)
class Plan:
    """Ids to read behind the first `start` positions; `links` are the places of link tokens."""

    start: int
    ids: tuple[int, ...]
    links: tuple[int, ...]
    decisions: tuple[Decision, ...] = ()


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
        text. Returns the mentions, ranges of tokens, of the first of the plan's links; the others
        are discarded."""
        ...


@dataclass(frozen=True, slots=True)
class _Fork:
    """A decision at `place`, behind so many `links`; the draft goes on as if it were `guess`, or
    ends here where that is None."""

    decision: Decision
    place: Place
    links: int
    guess: bool | None


@dataclass(slots=True)
class _Draft:
    """Ids to read, of which the first `decided` are no guess."""

    ids: list[int]
    links: list[tuple[int, Range]] = field(default_factory=list)
    forks: list[_Fork] = field(default_factory=list)
    decided: int = 0

    def add(self, piece: Piece, link_place: int) -> Place:
        """Write a piece; returns the place behind it."""
        if piece.closed is not None:
            self.links.append((len(self.ids) + link_place, piece.closed))
        self.ids += piece.ids
        return piece.place

    def plan(self, start: int) -> Plan:
        """The draft without ids at its end that decide nothing."""
        links, decisions = tuple(at for at, _ in self.links), tuple(f.decision for f in self.forks)
        last = max([*links, *(one.at for one in decisions)], default=-1)
        return Plan(start, tuple(self.ids[: last + 1]), links, decisions)


@dataclass(slots=True)
class DetectingWriter:
    """Writes a window in which the model finds the mentions."""

    renderer: LinkingRenderer
    tokens: TextTokens
    prompt: Sequence[int]
    limits: WritingLimits = field(default_factory=WritingLimits)
    counts: Counts = field(default_factory=Counts)
    _rules: Tagging = field(init=False)
    _guesses: Guesses = field(init=False)
    _ahead: int = field(init=False)
    _read: int = field(init=False, default=0)
    _draft: _Draft = field(init=False)
    _end: Place = field(init=False)
    _plan: Plan = field(init=False)
    # Where the open mention began, and what was read before it; that it began there and has not
    # ended yet.
    _begun: tuple[Place, int] = field(init=False)
    _probability: float = field(init=False, default=1.0)

    def __post_init__(self) -> None:
        self._rules = Tagging(self.renderer, self.tokens, self.limits)
        self._guesses = Guesses(self.tokens)
        self._ahead = self.limits.draft
        self._go_on(_Draft([*self.prompt]), Place(len(self.prompt)))

    @property
    def is_finished(self) -> bool:
        return not self._plan.ids

    def plan(self) -> Plan:
        return self._plan

    def _go_on(self, draft: _Draft, place: Place) -> None:
        """Write on behind what is decided, as the guesses say."""
        rules, draft.decided = self._rules, len(draft.ids)
        while not rules.is_end(place):
            is_tag = False
            if (choice := rules.choice(place)) is not None:
                ends = len(draft.ids) - draft.decided >= self._ahead
                guess = None if ends else self._guesses.is_tag(place.begun, place.at)
                if rules.is_last(place) and not guess:
                    guess = None
                decision = Decision(len(draft.ids) - 1, choice)
                draft.forks.append(_Fork(decision, place, len(draft.links), guess))
                if guess is None:
                    break
                is_tag = guess
            place = draft.add(rules.write(place, is_tag), self.renderer.link_place)
        self._draft, self._end, self._plan = draft, place, draft.plan(self._read)
        self.counts.length = place.length

    def accept(self, margins: Sequence[float]) -> list[Range]:
        draft, following, ends = self._draft, _Draft([]), self.limits.threshold
        # Where a text holds the tag itself, nothing can be told of it.
        choices = (fork.decision.choice for fork in draft.forks)
        pairs = zip(choices, margins, strict=True)
        tags = [_sigmoid(margin) if one.tag != one.text else 0.0 for one, margin in pairs]
        for fork, tag in zip(draft.forks, tags, strict=True):
            self._guesses.learn(fork.place.begun, fork.place.at, tag > ends)
        read, links, place = self._read + len(self._plan.ids), len(draft.links), self._end
        for fork, tag in zip(draft.forks, tags, strict=True):
            before = self._read + fork.decision.at + 1
            is_tag = self._decide(fork.place, before, tag)
            if is_tag is None or is_tag is not fork.guess:
                start, read = self._begun if is_tag is None else (fork.place, before)
                piece = self._rules.write(start, is_tag or False)
                place, links = following.add(piece, self.renderer.link_place), fork.links
                self._ahead = self._longer() if fork.guess is None else self.limits.draft
                break
        closed = [mention for _, mention in draft.links[:links]]
        for mention in closed:
            self._guesses.mark(mention)
        self._count(read)
        self._go_on(following, place)
        return closed

    def _decide(self, place: Place, read: int, tag: float) -> bool | None:
        """Whether a tag comes next, which has this probability; None: what has begun is no
        mention."""
        least = self.limits.threshold
        if place.begun is None:
            if tag > least:
                self._begun, self._probability = (place, read), tag
            return tag > least
        if self._probability * tag > least:
            return True
        self._probability *= 1 - tag
        return None if self._rules.is_last(place) or self._probability <= least else False

    def _longer(self) -> int:
        """The next draft behind one that was right."""
        return min(self.limits.longest_draft, self._ahead * 3 // 2)

    def _count(self, read: int) -> None:
        """Take that of what was ever read `read` positions are kept."""
        self.counts.forwarded += len(self._plan.ids)
        self.counts.discarded += self._read + len(self._plan.ids) - read
        self.counts.steps += 1
        self._read = read


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
