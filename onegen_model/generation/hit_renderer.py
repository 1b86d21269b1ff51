"""From the hits of one retrieval to what is inserted for them: whole, cut, or widened."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from onegen_model.errors import InvalidInputError, OneGenError, RetrievalError
from onegen_model.events import FragmentHit, Passage, Query, ScoredPassage
from onegen_model.generation.joining import join_passages
from onegen_model.inputs import Candidate
from onegen_model.params import RetrievalParams
from onegen_model.retrieval.protocol import NeighbourRetriever, retrieving
from onegen_model.transcript.passage_fit import count_passage, fit_passage
from onegen_model.transcript.renderer import Renderer

# A side with fewer neighbours loses them one by one where there is no room.
_STEPS = 8


@dataclass(slots=True, eq=False)
class _Run:
    """Adjoining passages of one document, in order, and the hits among them, the best first."""

    hits: list[ScoredPassage]
    pieces: list[Passage]

    @property
    def joined(self) -> Passage:
        return join_passages(self.pieces, self.hits[0].passage)


@dataclass(slots=True)
class _Runs:
    """The runs of one retrieval. `taken` are the ids that the context holds already."""

    longest: int
    renderer: Renderer
    taken: frozenset[str]
    listed: list[_Run] = field(default_factory=list)
    run_of: dict[str, _Run] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)

    def add(self, hit: ScoredPassage, around: Sequence[Passage], window: int) -> None:
        """Begin a run with a hit, or add it to the run that holds it, and widen that run."""
        self.ranks[hit.passage.id] = len(self.ranks)
        run = self.run_of.get(hit.passage.id)
        if run is None:
            run = _Run([hit], [hit.passage])
            self.listed.append(run)
            self.run_of[hit.passage.id] = run
        else:
            run.hits.append(hit)
        at = next((n for n, one in enumerate(around) if one.id == hit.passage.id), None)
        if at is None:
            return
        # The nearest ones first, and what follows before what precedes.
        open_sides = {1: around[at + 1 :], -1: around[:at][::-1]}
        for step in range(window):
            for side, others in list(open_sides.items()):
                if step >= len(others) or not self._take(run, others[step], side):
                    del open_sides[side]

    def _take(self, run: _Run, piece: Passage, side: int) -> bool:
        """Whether a run has a piece now: behind its last one, or before its first one."""
        other = self.run_of.get(piece.id)
        if other is run:
            return True
        if piece.id in self.taken or not piece.text.strip():
            return False
        more = other.pieces if other else [piece]
        hits = sorted(run.hits + (other.hits if other else []), key=self._rank)
        wider = _Run(hits, run.pieces + more if side > 0 else more + run.pieces)
        if count_passage(wider.joined, self.renderer) > self.longest:
            return False
        run.hits, run.pieces = wider.hits, wider.pieces
        if other is not None:
            self.listed[self.listed.index(other)] = run  # the better hit keeps its position
            self.listed = list(dict.fromkeys(self.listed))
        self.run_of |= dict.fromkeys((one.id for one in more), run)
        return True

    def _rank(self, hit: ScoredPassage) -> int:
        return self.ranks[hit.passage.id]


@dataclass(frozen=True, slots=True)
class HitRenderer:
    """What is inserted for hits, as the parameters of a request say.

    Hits are widened to at most `room` tokens, which are left of the context.
    """

    renderer: Renderer
    retrieval: RetrievalParams
    room: int

    @property
    def longest(self) -> int:
        """Most tokens of one inserted passage, without its frame."""
        usual = self.renderer.max_passage_tokens * (2 * self.retrieval.window + 1)
        return self.retrieval.passage_tokens or usual

    def candidates(
        self, hits: Sequence[ScoredPassage], query: Query, retriever: object
    ) -> list[Candidate]:
        """The hits with their ids. Empty ones are left out, and long ones are cut, with a warning.

        Raises InvalidInputError, which names the passage, when hits were found and all of them are
        empty.
        """
        usable = [hit for hit in hits if hit.passage.text.strip()]
        if hits and not usable:
            raise InvalidInputError(
                f"Passage {hits[0].passage.id!r} is empty, and so is all else that was found; "
                "expected some text; remove empty documents from the store"
            )
        window = self.retrieval.window
        runs = _Runs(min(self.longest, self.room), self.renderer, frozenset(query.exclude))
        for hit in usable:
            around = _neighbours(retriever, hit.passage, window, query) if window else ()
            runs.add(hit, around, window)
        return [self._candidate(run) for run in runs.listed]

    def _candidate(self, run: _Run) -> Candidate:
        best = run.hits[0]
        if len(run.pieces) > 1:
            hit = _plain(best, run.joined)
            ids = self.renderer.frame_ids(hit.passage)
            return Candidate(hit, ids, tuple(map(self._candidate, _narrower(run))))
        fragment = best.fragment if isinstance(best, FragmentHit) else 0
        fitting = fit_passage(best.passage, self.renderer, self.longest, fragment)
        return Candidate(_plain(best, fitting), self.renderer.frame_ids(fitting))


def _plain(hit: ScoredPassage, passage: Passage) -> ScoredPassage:
    """The hit of what is inserted for it; the retriever's own kind of hit is kept."""
    if isinstance(hit, FragmentHit):
        return ScoredPassage(passage, hit.score)
    return hit if passage is hit.passage else replace(hit, passage=passage)


def _narrower(run: _Run) -> list[_Run]:
    """The run without its outermost neighbours; the single hits where it has none."""
    found = {hit.passage.id for hit in run.hits}
    at = [n for n, piece in enumerate(run.pieces) if piece.id in found]
    before, behind = at[0], len(run.pieces) - 1 - at[-1]
    if before or behind:
        # One, or a part of many, so that the number of steps stays small.
        if behind >= before:
            return [_Run(run.hits, run.pieces[: -_part(behind)])]
        return [_Run(run.hits, run.pieces[_part(before) :])]
    by_id = {hit.passage.id: hit for hit in run.hits}
    return [_Run([by_id[run.pieces[n].id]], [run.pieces[n]]) for n in at]


def _part(neighbours: int) -> int:
    return max(1, neighbours // _STEPS)


def _neighbours(
    retriever: object, passage: Passage, window: int, query: Query
) -> Sequence[Passage]:
    """What stands around a passage; raises RetrievalError."""
    if not isinstance(retriever, NeighbourRetriever):  # `require_retriever` has refused it.
        return ()
    try:
        with retrieving():
            around = retriever.neighbours(passage, window, query)
    except OneGenError:
        raise
    except Exception as error:
        raise RetrievalError(
            f"{type(retriever).__name__} raised {type(error).__name__}: {error}; expected the "
            f"neighbours of {passage.id!r}; see the cause"
        ) from error
    if not isinstance(around, list | tuple) or not all(isinstance(one, Passage) for one in around):
        raise RetrievalError(
            f"{type(retriever).__name__} has neighbours of type {type(around).__name__}; expected "
            "a list of Passage; return those that stand around the passage, in order"
        )
    return around
