"""One clean forward over a finished context, compared with what was written in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.recording import Record
from onegen_model import (
    OneGenModel,
    PassageIndex,
    PassagesInserted,
    RetrievalParams,
    RetrievalRequested,
    Token,
)
from onegen_model.network import context_length

EMBEDDING_TOLERANCE, MARGIN, SCORE_GAP = 1e-4, 1e-3, 1e-5


@dataclass(frozen=True, slots=True)
class Parting:
    """A position where two readings differ; `excuse` is the margin or gap that must be small."""

    question: str
    what: str
    excuse: float
    allowed: bool

    def __str__(self) -> str:
        verdict = "allowed" if self.allowed else "NOT ALLOWED"
        return f"{self.what}, {self.excuse:.1e} apart ({verdict}): {self.question}"


@dataclass(frozen=True, slots=True)
class CleanReading:
    """Margins of the top two logits per written token, and gaps of scores per retrieval."""

    margins: tuple[float, ...]
    gaps: tuple[float, ...]
    embedding_error: float
    partings: tuple[Parting, ...]


class CleanReader:
    """Reads one sequence at a time on the bare network, without cache and engine."""

    def __init__(self, model: OneGenModel, index: PassageIndex, retrieval: RetrievalParams) -> None:
        self._network = model.network
        self._index = index
        self._retrieval = retrieval
        renderer = model.renderer
        ends = model.network.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self._query = renderer.query_id
        self._masked = sorted(renderer.control_ids - {renderer.end_id, renderer.query_id, *ends})
        self._longest = context_length(model.network.config.get_text_config())
        self._frame = len(renderer.empty_frame)

    def read(self, record: Record) -> CleanReading:
        hidden, logits = self._forward(record.ids)
        margins, gaps, partings, error = [], [], [], 0.0
        queries: list[NDArray[np.float32]] = []
        seen: list[str] = []
        for at, event in record.positions():
            if isinstance(event, Token):
                if event.forced:
                    margins.append(float("inf"))
                    continue
                best, margin, is_top = self._judge(logits[at - 1], event, at, len(queries))
                margins.append(margin)
                if best != event.token_id:
                    what = f"token {event.token_id} at {at}, clean {best}"
                    allowed = margin < MARGIN and is_top
                    partings.append(Parting(record.question, what, margin, allowed))
            elif isinstance(event, RetrievalRequested):
                queries.append(_unit(hidden[at]))
                found = np.asarray(event.query_embedding, np.float32)
                error = max(error, float(np.abs(found - queries[-1]).max()))
            elif isinstance(event, PassagesInserted):
                gap, parting = self._compare(record, event, queries[-1], seen)
                gaps.append(gap)
                partings += parting
                seen += [one.passage.id for one in event.passages]
        return CleanReading(tuple(margins), tuple(gaps), error, tuple(partings))

    @torch.inference_mode()
    def _forward(self, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Hidden states before the output head, and its logits, at every position."""
        entered: list[Tensor] = []
        head = self._network.get_output_embeddings()
        handle = head.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
        try:
            rows = torch.tensor([ids], device=self._network.device)
            logits = self._network(input_ids=rows, use_cache=False).logits
        finally:
            handle.remove()
        return entered[0][0], logits[0]

    def _judge(
        self, logits: Tensor, token: Token, at: int, retrievals: int
    ) -> tuple[int, float, bool]:
        """The best id under the masks, the margin of the top two, and if `token` is one of them."""
        logits = logits.clone()
        logits[self._masked] = -torch.inf
        room = self._longest - at - 1 - self._frame
        if retrievals >= self._retrieval.max_retrievals or room < 1:
            logits[self._query] = -torch.inf
        top = logits.topk(2)
        margin = float(top.values[0] - top.values[1])
        return int(top.indices[0]), margin, token.token_id in top.indices.tolist()

    def _compare(
        self,
        record: Record,
        event: PassagesInserted,
        query: NDArray[np.float32],
        seen: Sequence[str],
    ) -> tuple[float, list[Parting]]:
        """The smallest gap between neighbouring scores, and a parting if other passages win."""
        count = self._retrieval.top_k
        [ranked] = self._index.search(query[None], count + 1, exclude=tuple(seen))
        scores = [one.score for one in ranked]
        gap = min((a - b for a, b in pairwise(scores)), default=float("inf"))
        ours = [one.passage.id for one in event.passages]
        clean = [one.passage.id for one in ranked[:count]]
        if ours == clean or event.dropped:
            return gap, []
        return gap, [Parting(record.question, f"passages at hop {event.hop}", gap, gap < SCORE_GAP)]


def _unit(hidden: Tensor) -> NDArray[np.float32]:
    vector: NDArray[np.float64] = hidden.double().cpu().numpy()
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def compare(one: Record, other: Record, clean: CleanReading) -> tuple[Parting | None, float]:
    """The first difference of two runs of a question, with its margin in the clean forward over
    `one`, and the largest difference of their query embeddings before it.
    """
    tokens = hops = 0
    error = 0.0
    for mine, theirs in zip(one.events, other.events, strict=False):
        if isinstance(mine, RetrievalRequested) and isinstance(theirs, RetrievalRequested):
            pair = [np.asarray(e.query_embedding) for e in (mine, theirs)]
            error = max(error, float(np.abs(pair[0] - pair[1]).max()))
        if _same(mine, theirs):
            tokens += isinstance(mine, Token)
            hops += isinstance(mine, PassagesInserted)
            continue
        if isinstance(mine, Token):
            margin = clean.margins[tokens]
            return Parting(one.question, f"token {tokens}", margin, margin < MARGIN), error
        gap = clean.gaps[hops] if isinstance(mine, PassagesInserted) else float("inf")
        return Parting(one.question, f"{type(mine).__name__} {hops}", gap, gap < SCORE_GAP), error
    if len(one.events) != len(other.events):
        return Parting(one.question, "number of events", float("inf"), False), error
    return None, error


def _same(mine: object, theirs: object) -> bool:
    if isinstance(mine, Token) and isinstance(theirs, Token):
        ours, others = (mine.token_id, mine.text, mine.forced), (theirs.token_id, theirs.text)
        return ours == (*others, theirs.forced)
    if isinstance(mine, RetrievalRequested) and isinstance(theirs, RetrievalRequested):
        return (mine.hop, mine.text) == (theirs.hop, theirs.text)
    if isinstance(mine, PassagesInserted) and isinstance(theirs, PassagesInserted):
        pair = [[one.passage.id for one in event.passages] for event in (mine, theirs)]
        return pair[0] == pair[1] and mine.num_tokens == theirs.num_tokens
    if type(mine) is not type(theirs):
        return False
    return bool(mine.reason == theirs.reason)  # type: ignore[attr-defined]
