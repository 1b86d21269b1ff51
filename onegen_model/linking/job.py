"""One call of `link`: texts to windows, windows to mentions, mentions to searches.

A generator without a retriever: it yields searches and is sent their mentions, so that sync and
async callers share it. It yields None, too, after each forward pass, so that it can be left there.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onegen_model.errors import ContextTooLongError, InvalidInputError
from onegen_model.linking.mentions import LinkedText, LinkingUsage, Mention
from onegen_model.linking.params import LinkingParams
from onegen_model.linking.reading import ClosedMention, WindowReader
from onegen_model.linking.search import FoundMention, Search
from onegen_model.linking.tagging import WritingLimits
from onegen_model.linking.windows import Window, cut_windows
from onegen_model.linking.writers import DetectingWriter, MarkingWriter, Writer
from onegen_model.network import context_length
from onegen_model.progress import show_progress
from onegen_model.transcript.linking_renderer import LinkingRenderer
from onegen_model.transcript.text_tokens import Range, TextTokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Windows that are read side by side, and the drafts of one forward pass together. A longer draft
# takes fewer passes and is discarded more often. That of a window alone grows, those side by side
# are equally long, because the shorter ones would be padded.
_ROWS = 8
_DRAFTS = 96
_MIN_DRAFT, _MAX_DRAFT, _ALONE = 8, 24, 48
_MIN_WINDOW = 2

# Yields searches, is sent their mentions, and returns what became of each text.
Job = Generator[Search | None, Sequence[Mention] | None, list[LinkedText]]
_Steps = Generator[Search | None, Sequence[Mention] | None, None]


@dataclass(frozen=True, slots=True)
class LinkingTask:
    """A text to link."""

    text: str
    params: LinkingParams


@dataclass(slots=True)
class _Piece:
    """A window of text `number` with its tokens and writer; `given` are the numbers of the mentions
    that are given, by their characters."""

    number: int
    window: Window
    tokens: TextTokens
    writer: Writer
    given: dict[Range, int] | None = None


@dataclass(slots=True)
class _Progress:
    """What has been found of one text; `end` is where the last mention of a live search ends."""

    task: LinkingTask
    end: int = 0
    mentions: list[Mention] = field(default_factory=list)
    usage: LinkingUsage = field(default_factory=LinkingUsage)

    def linked(self) -> LinkedText:
        """Of mentions that windows found on both sides of their border the first is kept."""
        kept: list[Mention] = []
        for one in sorted(self.mentions, key=lambda one: one.start):
            if not kept or one.start >= kept[-1].end:
                kept.append(one)
        return LinkedText(self.task.text, tuple(kept), self.usage)


class Linker:
    """Links texts with one network; each call has a cache of its own, so that any number of threads
    may call."""

    def __init__(self, network: "PreTrainedModel", renderer: LinkingRenderer) -> None:
        self._network = network
        self._renderer = renderer
        self._context = context_length(network.config.get_text_config())

    def link(
        self,
        tasks: Sequence[LinkingTask],
        *,
        live: bool = False,
        progress: bool = False,
    ) -> Job:
        """Link texts; `live`: search after each forward pass, in the order of the text, instead of
        once for all windows that are read together.

        Raises InvalidInputError before any work for a text that cannot be linked.
        """
        found = [_Progress(task) for task in tasks]
        cuts: list[list[Window]] = []
        for task in tasks:
            cuts.append(self._cut(task))
            yield None
        with show_progress(sum(map(len, cuts)), "Linking", "window", progress) as bar:
            for group in _groups(cuts, in_order=live):
                pieces = [
                    self._piece(number, tasks[number], window, len(group))
                    for number, window in group
                ]
                yield from self._read(pieces, found, live)
                bar.update(len(group))
        return [one.linked() for one in found]

    def _cut(self, task: LinkingTask) -> list[Window]:
        given = task.params.spans
        if given is not None:
            require_spans(task.text, given)
        if not task.text.strip():
            return []
        tokens = self._renderer.tokens(task.text)
        if given is not None:
            tokens = self._renderer.cut(tokens, given)
            _require_whole(tokens, given, self._room(given))
        size = min(task.params.window, self._room(given))
        return cut_windows(tokens, size, min(task.params.overlap, size // 2), given or ())

    def _room(self, given: Sequence[Range] | None) -> int:
        """The longest window, in tokens; raises ContextTooLongError where there is room for none.

        Prompt and written text hold it twice. The writer that finds mentions sees to it that their
        tags fit; given mentions must, even if each token of a window is one and the last of them as
        long as a window.
        """
        parts = 3 if given is None else 2 * (2 + self._renderer.tag_length)
        size = (self._context - len(self._renderer.prompt_ids("a"))) // parts
        if size < _MIN_WINDOW:
            raise ContextTooLongError(
                f"A window has room for {size} tokens in a context of {self._context}; expected "
                f"{_MIN_WINDOW} or more; choose a checkpoint with a longer context"
            )
        return size

    def _piece(self, number: int, task: LinkingTask, window: Window, rows: int) -> _Piece:
        text, params = task.text[window.start : window.end], task.params
        tokens, prompt = self._renderer.tokens(text), self._renderer.prompt_ids(text)
        if params.spans is None:
            draft = max(_MIN_DRAFT, min(_MAX_DRAFT, _DRAFTS // rows))
            limits = WritingLimits(
                draft,
                _ALONE if rows == 1 else draft,
                max_mention_tokens=params.max_mention_tokens,
                threshold=params.mention_threshold,
                room=self._context,
            )
            writer = DetectingWriter(self._renderer, tokens, prompt, limits)
            return _Piece(number, window, tokens, writer)
        first, last = window.core
        given = {
            (start - window.start, end - window.start): at
            for at, (start, end) in enumerate(params.spans)
            if first <= start < last
        }
        tokens = self._renderer.cut(tokens, list(given))
        ranges = [tokens.find(span) for span in sorted(given)]
        marked = [one for one in ranges if one is not None]
        assert len(marked) == len(ranges)  # `_cut` has found them in the whole text
        return _Piece(
            number, window, tokens, MarkingWriter(self._renderer, tokens, prompt, marked), given
        )

    def _read(self, pieces: Sequence[_Piece], found: Sequence[_Progress], live: bool) -> _Steps:
        held: dict[int, list[ClosedMention]] = {at: [] for at in range(len(pieces))}
        for closed in WindowReader(self._network).read([one.writer for one in pieces]):
            for one in closed:
                held[one.writer].append(one)
            if live:
                yield from _search(_ready(pieces, held), pieces, found, live)
            yield None
        yield from _search([one for at in held for one in held[at]], pieces, found, live)
        for piece in pieces:
            counts = piece.writer.counts
            found[piece.number].usage += LinkingUsage(
                counts.length, counts.forwarded, counts.discarded, counts.steps, 1
            )


def _ready(pieces: Sequence[_Piece], held: dict[int, list[ClosedMention]]) -> list[ClosedMention]:
    """Mentions before which no window of their text is unfinished."""
    ready: list[ClosedMention] = []
    waits: set[int] = set()
    for at, piece in enumerate(pieces):
        if piece.number not in waits:
            ready += held[at]
            held[at] = []
        if not piece.writer.is_finished:
            waits.add(piece.number)
    return ready


def _search(
    closed: Sequence[ClosedMention],
    pieces: Sequence[_Piece],
    found: Sequence[_Progress],
    live: bool,
) -> _Steps:
    """Search for the entities of mentions in the core of their windows, and keep them; `live`:
    they come in the order of their text."""
    wanted: list[tuple[_Progress, FoundMention]] = []
    for one in closed:
        piece = pieces[one.writer]
        owner = found[piece.number]
        mention = _in_core(one, piece, owner.task)
        # The window before may have given a mention that reaches into this one. Without `live`,
        # windows come in any order, and `linked` leaves out the second mention.
        if mention is not None and mention.start >= owner.end:
            owner.end = mention.end if live else 0
            wanted.append((owner, mention))
    if not wanted:
        return
    mentions = yield Search(
        tuple(mention for _, mention in wanted),
        tuple(owner.task.text for owner, _ in wanted),
        tuple(owner.task.params for owner, _ in wanted),
    )
    for (owner, _), linked in zip(wanted, mentions or (), strict=True):
        owner.mentions.append(linked)


def _in_core(one: ClosedMention, piece: _Piece, task: LinkingTask) -> FoundMention | None:
    span = piece.tokens.surface(one.mention)
    start, end = (at + piece.window.start for at in span)
    first, last = piece.window.core
    if piece.given is None and not first <= start < last:
        return None
    number = 0 if piece.given is None else piece.given[span]
    among = task.params.candidates_of(number)
    return FoundMention(start, end, task.text[start:end], one.embedding, among)


def _groups(
    cuts: Sequence[Sequence[Window]], *, in_order: bool
) -> Iterator[list[tuple[int, Window]]]:
    """Windows to read side by side, each with the number of its text; of similar length, unless
    they are wanted in order."""
    windows = [(number, window) for number, cut in enumerate(cuts) for window in cut]
    if not in_order:
        windows.sort(key=lambda one: one[1].end - one[1].start)
    for start in range(0, len(windows), _ROWS):
        yield windows[start : start + _ROWS]


def require_spans(text: str, spans: Sequence[Range]) -> None:
    """Raise InvalidInputError for given mentions that are not in the text, or overlap."""
    done = 0
    for start, end in sorted(spans):
        if not 0 <= start < end <= len(text):
            raise InvalidInputError(
                f"mention ({start}, {end}) in a text of {len(text)} characters; expected "
                f"0 <= start < end <= {len(text)}; correct its offsets"
            )
        if start < done:
            raise InvalidInputError(
                f"mention ({start}, {end}) overlaps the one before it; expected mentions side by "
                "side; leave one of them out"
            )
        if text[start:end] != text[start:end].strip():
            raise InvalidInputError(
                f"mention ({start}, {end}) is {text[start:end]!r}; expected no white space around "
                "it; correct its offsets"
            )
        done = end


def _require_whole(tokens: TextTokens, spans: Sequence[Range], longest: int) -> None:
    for span in spans:
        if (found := tokens.find(span)) is None:
            raise InvalidInputError(
                f"mention ({span[0]}, {span[1]}) begins or ends inside a character that is made of "
                "several; expected whole ones; correct its offsets"
            )
        if (size := found[1] - found[0]) > longest:
            raise InvalidInputError(
                f"mention ({span[0]}, {span[1]}) has {size} tokens; expected at most {longest} "
                "with the context of this checkpoint; give the name alone"
            )
