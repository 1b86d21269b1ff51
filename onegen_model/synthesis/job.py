"""Questions for an index: written passage by passage, checked, and kept in a file that resumes."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from tqdm import tqdm

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.pool import digest
from onegen_model.events import Passage
from onegen_model.finetune.mining.resumable_file import PartialFile
from onegen_model.model import OneGenModel
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.places import place_of
from onegen_model.progress import ShouldStop, is_hidden
from onegen_model.retrieval.index import PassageIndex
from onegen_model.synthesis.candidates import (
    REJECTIONS,
    Candidate,
    QuestionWriter,
    Rejection,
    folded,
    matches,
    problem_of,
    verbatim,
)
from onegen_model.transcript.answer import Answer

# Which candidates are kept: those that the model answers, those whose passage it finds, or all.
Keep = Literal["answered", "found", "all"]
_TOKENS = 96  # of an answer to one fact


@dataclass(frozen=True, slots=True)
class SynthesisSettings:
    """At most `count` questions (None: as many as there are), at most `per_passage` of one passage.

    Passages are taken in an order drawn by `seed`. Each question is asked again over the index:
    its passage must be among the `top_k` that a retrieval inserts, and the answer must hold the
    one that was written (`keep`). `batch` questions are asked at a time. `force` replaces a file
    that exists, finished or not.
    """

    count: int | None = None
    per_passage: int = 3
    seed: int = 0
    keep: Keep = "answered"
    top_k: int = 2
    batch: int = 16
    force: bool = False

    def __post_init__(self) -> None:
        for name in ("count", "per_passage", "top_k", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInputError(f"{name}={value}; expected at least 1; change {name}")
        if self.keep not in get_args(Keep):
            raise InvalidInputError(
                f"keep={self.keep!r}; expected one of {', '.join(get_args(Keep))}; change keep"
            )


@dataclass(frozen=True, slots=True)
class SynthesisReport:
    """Numbers of a finished or stopped job; `rejected` counts candidates by reason."""

    path: Path
    kept: int
    candidates: int
    passages: int
    total: int
    is_whole: bool
    rejected: dict[Rejection, int] = field(default_factory=dict)


def synthesize(
    model: OneGenModel,
    index: PassageIndex,
    writer: QuestionWriter,
    out: Path,
    settings: SynthesisSettings = SynthesisSettings(),
    should_stop: ShouldStop = lambda: False,
) -> SynthesisReport:
    """Write a file of `{"question", "answer", "passage", "source"}`, one object a line.

    Until it is whole its lines are in `out.partial`; after a stop or a kill the same call goes on.
    Raises InvalidInputError if `out` exists, or was begun with other settings (unless
    `settings.force`), and what the writer raises.
    """
    passages = sorted(index.passages, key=lambda one: one.id)
    random.Random(settings.seed).shuffle(passages)
    file = PartialFile(
        out,
        {
            "writer": writer.name,
            "model": model.fingerprint,
            "passages": digest(passages),
            "per_passage": settings.per_passage,
            "seed": settings.seed,
            "keep": settings.keep,
            "top_k": settings.top_k,
        },
        force=settings.force,
    )
    job = _Job(model, index, writer, settings, file)
    done = passages[: file.done]
    with tqdm(total=len(passages), initial=len(done), desc="Writing", unit="passage",
              disable=is_hidden(None)) as bar:  # fmt: skip
        for some in job.rounds(passages[len(done) :], should_stop):
            bar.update(some)
            bar.set_postfix(kept=file.counts["kept"])
    is_whole = job.is_full or file.done == len(passages)
    if is_whole:
        file.finish()
    counts = Counter(file.counts)
    kept, candidates = counts.pop("kept", 0), counts.pop("candidates", 0)
    rejected = {name: counts[name] for name in REJECTIONS if counts[name]}
    return SynthesisReport(out, kept, candidates, file.done, len(passages), is_whole, rejected)


@dataclass(frozen=True, slots=True)
class _Job:
    """Writes and checks some passages at a time, and appends what is kept."""

    model: OneGenModel
    index: PassageIndex
    writer: QuestionWriter
    settings: SynthesisSettings
    file: PartialFile
    asked: set[str] = field(default_factory=set)

    @property
    def is_full(self) -> bool:
        count = self.settings.count
        return count is not None and self.file.counts["kept"] >= count

    def rounds(self, passages: Sequence[Passage], should_stop: ShouldStop) -> Iterator[int]:
        """The number of passages of each round, once its questions are on disk."""
        self.asked.update(folded(row["question"]) for row in self.file.rows())
        waiting: list[Candidate] = []
        begun = 0
        for at, passage in enumerate(passages):
            if self.is_full or should_stop():
                return
            waiting += self._write(passage)
            if len(waiting) >= self.settings.batch or at == len(passages) - 1:
                self._finish(waiting, at + 1 - begun)
                yield at + 1 - begun
                waiting, begun = [], at + 1

    def _write(self, passage: Passage) -> list[Candidate]:
        written = list(self.writer.write(passage))
        random.Random(f"{self.settings.seed}|{passage.id}").shuffle(written)
        return written[: self.settings.per_passage]

    def _finish(self, candidates: Sequence[Candidate], passages: int) -> None:
        """Check the candidates of a round and append those that pass."""
        counts: Counter[str] = Counter(candidates=len(candidates))
        problems = [problem_of(one, self.asked) for one in candidates]
        sound = [one for one, why in zip(candidates, problems, strict=True) if why is None]
        again = iter(self._asked_again(sound))
        kept = []
        for one, why in zip(candidates, problems, strict=True):
            if why is None:  # what a resumed job cannot know, the questions left out, has no say
                verdict = next(again)
                why = "asked before" if folded(one.question) in self.asked else verdict
            if why is not None:
                counts[why] += 1
                continue
            self.asked.add(folded(one.question))
            kept.append(one)
        if self.settings.count is not None:
            kept = kept[: self.settings.count - self.file.counts["kept"]]
        counts["kept"] = len(kept)
        self.file.append(map(_line, kept), counts, items=passages)

    def _asked_again(self, candidates: Sequence[Candidate]) -> list[Rejection | None]:
        """Why each candidate fails the round trip; None where it passes, or none is made."""
        if self.settings.keep == "all" or not candidates:
            return [None] * len(candidates)
        answers = self.model.generate(
            [one.question for one in candidates],
            retriever=self.index,
            sampling=SamplingParams(max_new_tokens=_TOKENS),
            retrieval=RetrievalParams(top_k=self.settings.top_k),
        )
        return [self._judge(*pair) for pair in zip(candidates, answers, strict=True)]

    def _judge(self, candidate: Candidate, answer: Answer) -> Rejection | None:
        read = {hit.passage.id for one in answer.retrievals for hit in one.passages}
        if candidate.passage.id not in read:
            return "passage not found"
        is_right = matches(answer.text, verbatim(candidate))
        return None if is_right or self.settings.keep == "found" else "answered otherwise"


def _line(candidate: Candidate) -> str:
    place = place_of(candidate.passage)
    row = {
        "question": " ".join(candidate.question.split()),
        "answer": verbatim(candidate),
        "passage": candidate.passage.id,
    }
    return json.dumps(row | ({"source": place.source} if place else {}), ensure_ascii=False)
