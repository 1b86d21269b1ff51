"""Mine hard negatives: search a corpus with the queries of training examples.

`negatives` decides which passages may be negatives, `search` finds them.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from onegen_model.checkpoint.default_base import file_sha256
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage, ScoredPassage
from onegen_model.finetune.data.collator import content_key
from onegen_model.finetune.data.datasets import Data, Example
from onegen_model.finetune.data.examples import PassageRef, TrainingExample
from onegen_model.finetune.data.linking import LinkingExample
from onegen_model.finetune.data.pairs import Pairs
from onegen_model.finetune.data.records import Format
from onegen_model.finetune.data.survey import missing_passages
from onegen_model.finetune.mining.negatives import MiningSettings, QueryLabels, select_negatives
from onegen_model.finetune.mining.resumable_file import PartialFile
from onegen_model.finetune.mining.search import (
    CandidateRetriever,
    MiningCorpus,
    MiningQuery,
    Vector,
)
from onegen_model.transcript.template import Template

# Examples between two saves.
_BLOCK = 64
_MINED = ("transcripts", "pairs")
_ADVICE = {"entity_linking": "name the wrong entities of each mention in its `negatives`"}


def require_minable(form: Format) -> None:
    """Raise InvalidInputError for a format whose queries are no searches of a passage."""
    if form not in _MINED:
        raise InvalidInputError(
            f"Negatives cannot be mined for the format {form}; expected transcripts or pairs; "
            f"{_ADVICE.get(form, 'convert the file to one of these formats')}"
        )


def mining_queries(example: Example) -> Iterator[tuple[MiningQuery, tuple[str, ...]]]:
    """The queries that have a positive, each with the short answers that follow it.

    A query's text is the line before its query token, as at inference; without one it is the
    question, and all later answers belong to it. Raises InvalidInputError for a linked text.
    """
    if isinstance(example, LinkingExample):
        raise InvalidInputError(
            f"Example {example.id!r} is a text with linked mentions; expected a question; name the "
            "wrong entities of each mention in its `negatives`"
        )
    hop = 0
    for number, segment in enumerate(example.segments):
        if segment.target is None:
            continue
        if segment.target.positives:
            own = Template().query_text(segment.text)
            later = example.segments[number + 1 :]
            texts = [one.text for one in (later[:1] if own else later)]
            answers = tuple(filter(None, map(short_answer, texts)))
            yield MiningQuery(example, hop, own or example.question), answers
        hop += 1


def short_answer(text: str) -> str:
    """The answer that a written text starts with: its first line, without the answer frame."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    steps, answer = Template().parse([first])
    return next(iter(steps), answer)


class MiningSources:
    """Checked training data, its corpus, and the positives of each query text.

    The corpus is the file of passages and the passages inside examples. Raises InvalidInputError
    for a missing passage, or if no retrieval has a positive.
    """

    def __init__(self, data: Data) -> None:
        require_minable(data.examples.records.form)
        self.examples = data.examples.require_sound()
        self._named = data.passages
        inline: dict[str, Passage] = {}
        self._positives: dict[str, set[int]] = {}
        for number in range(len(self.examples)):
            example = self.examples[number]
            if problem := next(missing_passages(example, self._named), None):
                raise InvalidInputError(
                    f"{self.examples.where(number)}: example {example.id!r}: {problem}; add the "
                    "passage or correct the example"
                )
            refs = [ref for target in example.targets for ref in target.refs]
            inline |= {ref.id: ref for ref in refs if isinstance(ref, Passage)}
            for query, _ in mining_queries(example):
                keys = map(content_key, self.positives(query))
                self._positives.setdefault(query.text, set()).update(keys)
        if not self._positives:
            raise InvalidInputError(
                f"No retrieval of {self.examples.lines.path} has a positive; expected at least "
                "one, because negatives are compared with it; add positives first"
            )
        self.corpus = MiningCorpus(self._named, inline.values())

    def find(self, refs: Sequence[PassageRef]) -> list[Passage]:
        """The passages that an example names or holds."""
        return [self._named[ref] if isinstance(ref, str) else ref for ref in refs]

    def positives(self, query: MiningQuery) -> list[Passage]:
        """The positives of its target."""
        return self.find(query.example.targets[query.hop].positives)

    def known(
        self, query: MiningQuery, answers: tuple[str, ...], scores: Vector, *, keep: bool
    ) -> QueryLabels:
        """Labels of a query; positives of equal query texts are no candidates either, nor are its
        own negatives if `keep`.
        """
        keys = set(self._positives[query.text])
        if keep:
            own = query.example.targets[query.hop].negatives
            keys.update(map(content_key, self.find(own)))
        positive = min(float(scores[self.corpus.row(one)]) for one in self.positives(query))
        return QueryLabels(frozenset(keys), positive, answers)

    def record(
        self, number: int, mined: Mapping[int, Sequence[Passage]], *, keep: bool
    ) -> dict[str, Any]:
        """An example as a record of its format, with the mined negatives of some hops."""
        if isinstance(self.examples.records, Pairs):
            example = self.examples[number]
            assert isinstance(example, TrainingExample)  # what pairs are parsed to
            return self._pair(example, mined, keep=keep)
        record = self.examples.lines[number]
        segments = (s for s in record["segments"] if s.get("target") is not None)
        for hop, segment in enumerate(segments):
            if hop in mined:
                kept = segment["target"].get("negatives", []) if keep else []
                refs = [one.id if one.id in self._named else _plain(one) for one in mined[hop]]
                segment["target"]["negatives"] = [*kept, *refs]
        return record

    def _pair(
        self, example: TrainingExample, mined: Mapping[int, Sequence[Passage]], *, keep: bool
    ) -> dict[str, Any]:
        """A record with positives and negatives, also for lines with scores."""
        [target] = example.targets
        kept = self.find(target.negatives) if keep or not mined else []
        return {
            "id": example.id,
            "query": example.question,
            "positive": [_plain(one) for one in self.find(target.positives)],
            "negative": [_plain(one) for one in (*kept, *mined.get(0, ()))],
        }


def _plain(passage: Passage) -> dict[str, str]:
    """A passage as part of a record."""
    titled = {"title": passage.title} if passage.title else {}
    return {"text": passage.text, **titled}


@dataclass(frozen=True, slots=True)
class MiningSummary:
    """Counts of a mined file.

    `queries` are the retrievals with a positive; `short` of them got fewer negatives than wanted.
    A retrieval keeps its negatives if `none` were found, or if its example is too long for the
    model (`unread`). The last two count candidates.
    """

    examples: int
    queries: int
    negatives: int
    short: int
    none: int
    unread: int
    holding_answer: int
    scoring_high: int


def require_out(out: Path, examples: Path, *, force: bool = False) -> None:
    """Raise InvalidInputError if `mine` could not write `out`; call it before loading a model."""
    if out.resolve() == examples.resolve() or out.suffix == ".gz":
        raise InvalidInputError(
            f"{out} cannot be written; expected a .jsonl (no .gz) other than the file that is "
            "read; choose another name"
        )
    PartialFile.require_place(out, force=force)


def mine(
    sources: MiningSources,
    retriever: CandidateRetriever,
    settings: MiningSettings,
    out: Path,
    *,
    force: bool = False,
) -> MiningSummary:
    """Write the examples to `out` with hard negatives for each query that has a positive.

    A killed call is resumed by the next, see `PartialFile`; `force` replaces a finished `out`, and
    discards a part that was made with other inputs or settings.
    """
    examples = sources.examples
    require_out(out, examples.lines.path, force=force)
    made_with = {
        "examples": file_sha256(examples.lines.path),
        "corpus": retriever.corpus.content_sha256(),
        "search": retriever.name,
        **asdict(settings),
    }
    written = PartialFile(out, made_with, force=force)
    total = len(examples)
    with tqdm(
        total=total, initial=written.done, desc="Mining", unit="example", disable=None
    ) as bar:
        while written.done < total:
            numbers = range(written.done, min(written.done + _BLOCK, total))
            lines, counts = _mine_block(sources, retriever, settings, numbers)
            written.append(lines, counts, items=len(numbers))
            bar.update(len(numbers))
    written.finish()
    names = ("queries", "negatives", "short", "none", "unread", "holding_answer", "scoring_high")
    return MiningSummary(total, **{name: written.counts[name] for name in names})


def _mine_block(
    sources: MiningSources,
    retriever: CandidateRetriever,
    settings: MiningSettings,
    numbers: Sequence[int],
) -> tuple[list[str], Counter[str]]:
    """Lines of some examples, and their counts."""
    examples = [sources.examples[number] for number in numbers]
    mined: list[dict[int, Sequence[Passage]]] = [{} for _ in examples]
    asked = [
        (at, query, answers)
        for at, example in enumerate(examples)
        for query, answers in mining_queries(example)
    ]
    counts = Counter(queries=len(asked))
    found = retriever.score([query for _, query, _ in asked])
    for (at, query, answers), scores in zip(asked, found, strict=True):
        if scores is None:
            counts["unread"] += 1
            continue
        known = sources.known(query, answers, scores, keep=settings.keep_negatives)
        ranked = _rank(retriever, scores, settings.range_max)
        rng = random.Random(f"{settings.seed}|{query.example.id}|{query.hop}")
        selection = select_negatives(ranked, known, settings, rng)
        if selection.passages:
            mined[at][query.hop] = selection.passages
        else:
            counts["none"] += 1
        counts["negatives"] += len(selection.passages)
        counts["short"] += len(selection.passages) < settings.num_negatives
        counts["holding_answer"] += selection.holding_answer
        counts["scoring_high"] += selection.scoring_high
    lines = [
        json.dumps(sources.record(number, found, keep=settings.keep_negatives), ensure_ascii=False)
        for number, found in zip(numbers, mined, strict=True)
    ]
    return lines, counts


def _rank(retriever: CandidateRetriever, scores: Vector, depth: int) -> list[ScoredPassage]:
    """The best that were found, best first; equal scores in the order of the corpus."""
    depth = min(depth, len(scores))
    # Ties for the last rank are all kept, because a partition would keep arbitrary ones.
    last = np.partition(scores, -depth)[-depth]
    rows = np.flatnonzero((scores >= last) & (scores > retriever.floor))
    rows = rows[np.argsort(-scores[rows], kind="stable")][:depth]
    return [
        ScoredPassage(retriever.corpus.passages[row], float(scores[row])) for row in rows.tolist()
    ]
