"""Batches of tensors from examples; rows of similar length share a chunk to avoid padding."""

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.sharedctypes import RawValue
from typing import Any, Literal

import torch
from torch import Tensor

from onegen_model.errors import InvalidInputError, PassageTooLongError
from onegen_model.events import Passage
from onegen_model.finetune.data.chunks import chunks, passage_chunk, transcript_chunk
from onegen_model.finetune.data.datasets import Example
from onegen_model.finetune.data.examples import PassageRef, TrainingExample
from onegen_model.finetune.data.linking import LinkingExample, render_linking
from onegen_model.finetune.loss.losses import NO_TARGET
from onegen_model.finetune.settings import CHECKED, Number, require_at_least
from onegen_model.transcript.conversation import Conversation, Message, conversation_ids
from onegen_model.transcript.linking_renderer import LinkingRenderer
from onegen_model.transcript.passage_fit import fragments
from onegen_model.transcript.renderer import Rendered, Renderer
from onegen_model.transcript.template import Segment

# The padding of `positive_keys`; no passage has this key.
NO_KEY = 0


@dataclass(frozen=True, slots=True)
class CollatorSettings:
    """Settings of a `Collator`.

    Nothing is cut, because a cut may remove a retrieval token. An example that is too long, or
    holds a passage that is too long, is an error, or is left out and counted.
    """

    __pydantic_config__ = CHECKED

    num_negatives: int = 1
    """How many hard negatives are drawn per query, 0 or more."""
    max_length: int = 2048
    """The longest transcript, in tokens."""
    chunk_tokens: int = 2048
    """The most tokens of one forward pass, padding included; it changes speed and memory only."""
    max_padding: Number = 1.0
    """The share of a forward pass that may be padding; little is faster on a CPU, where tokens take
    the time, and much on a GPU, where the number of passes does."""
    seed: int = 0
    """The seed of all random choices."""
    on_truncation: Literal["error", "drop"] = "error"
    """How an example that is too long is handled: as an error, or left out and counted."""

    def __post_init__(self) -> None:
        for name, least in (("num_negatives", 0), ("max_length", 1), ("chunk_tokens", 1)):
            require_at_least(least, name, getattr(self, name))
        if not 0 <= self.max_padding <= 1:
            raise InvalidInputError(
                f"max_padding is {self.max_padding}; expected a share, 0 to 1; change the value"
            )


class TooLongError(InvalidInputError):
    """An example that would have to be cut."""


@dataclass(frozen=True, slots=True)
class PassageQuery:
    """The positives and negatives of one query token."""

    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...] = ()


class Collator:
    """Renders a batch of examples and draws its positives and negatives.

    The batch: `transcripts` and `passages` are lists of chunks (dicts of tensors). The queries, in
    the order in which the chunks hold them, have `targets` (q,), columns of the passages, own
    `negatives` (q, p) and `positive_keys` (q, m); `passage_keys` (p,) name passages by content.
    `ids` are the examples'.
    """

    def __init__(
        self,
        renderer: Renderer,
        passages: Mapping[str, Passage],
        settings: CollatorSettings = CollatorSettings(),
    ) -> None:
        self._renderer = renderer
        self._passages = passages
        self._settings = settings
        # In shared memory, because persistent dataloader workers read it too.
        self._epoch = RawValue("q", 0)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that draws depend on (0 before the first call)."""
        self._epoch.value = epoch

    def render(self, example: Example) -> Rendered:
        """The transcript of one example; raises InvalidInputError where it cannot be used."""
        if isinstance(example, LinkingExample):
            rendered = render_linking(example, self._linking)
        else:
            rendered = self._render_answer(example)
        if len(rendered.ids) > self._settings.max_length:
            raise TooLongError(
                f"Example {example.id!r} has {len(rendered.ids)} tokens; expected at most "
                f"{self._settings.max_length}; shorten it, raise collator.max_length, or leave it "
                "out with `collator: {on_truncation: drop}`"
            )
        return rendered

    @cached_property
    def _linking(self) -> LinkingRenderer:
        return LinkingRenderer(self._renderer)

    def _render_answer(self, example: TrainingExample) -> Rendered:
        segments = [
            Segment(
                segment.text,
                segment.target is not None,
                self.find(example, segment.target.inserted) if segment.target else (),
            )
            for segment in example.segments
        ]
        try:
            prompt = None
            if example.tools:
                self._renderer.require_turns()
                asked = Conversation((Message("user", example.question),), example.tools)
                prompt = conversation_ids(self._renderer, asked)
            rendered = self._renderer.transcript(example.question, segments, prompt)
        except PassageTooLongError as error:
            raise TooLongError(f"Example {example.id!r}: {error}") from error
        except InvalidInputError as error:
            raise InvalidInputError(f"Example {example.id!r}: {error}") from error
        # Nothing after the last query of such an example is ever read.
        return rendered if example.writes else _until_last_query(rendered)

    def find(self, example: Example, refs: Sequence[PassageRef]) -> tuple[Passage, ...]:
        """The passages of an example; raises InvalidInputError for one that the corpus lacks."""
        missing = [ref for ref in refs if isinstance(ref, str) and ref not in self._passages]
        if missing:
            raise InvalidInputError(
                f"Example {example.id!r} names passage {missing[0]!r}; expected an id of the "
                "corpus; add the passage or correct the example"
            )
        return tuple(self._passages[ref] if isinstance(ref, str) else ref for ref in refs)

    def passage_ids(self, example: Example, passage: Passage) -> list[int]:
        """Ids of a passage to embed; raises InvalidInputError naming the example."""
        try:
            if isinstance(example, LinkingExample):
                # Of a long description the beginning is embedded, as `onegen entities` does.
                passage = next(fragments(passage, self._renderer))
            return self._renderer.embed_ids(passage)
        except PassageTooLongError as error:
            raise TooLongError(f"Example {example.id!r}: {error}") from error

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """One batch; examples are reordered by length."""
        pairs = sorted(
            ((self.render(example), example) for example in examples),
            key=lambda pair: len(pair[0].ids),
        )
        owners = [example for _, example in pairs for _ in example.targets]
        queries = [
            PassageQuery(self.find(example, t.positives), self.find(example, t.negatives))
            for _, example in pairs
            for t in example.targets
        ]
        ids = [example.id for _, example in pairs]
        # Seeded by the batch, so that a resumed run or another worker draws the same; and by the
        # epoch, because a batch of one example recurs in each.
        epoch = self._epoch.value
        seeds = [str(self._settings.seed), *([f"epoch {epoch}"] if epoch else [])]
        rng = random.Random("|".join([*seeds, *ids]))
        drawn = draw(queries, self._settings.num_negatives, rng)
        rows = sorted(
            ((self.passage_ids(owners[n], passage), key) for key, (n, passage) in drawn.used()),
            key=lambda row: len(row[0]),
        )
        limits = (self._settings.chunk_tokens, self._settings.max_padding)
        transcripts = chunks(pairs, lambda pair: len(pair[0].ids), *limits)
        return {
            "transcripts": [transcript_chunk(chunk) for chunk in transcripts],
            "passages": [
                passage_chunk(chunk) for chunk in chunks([ids for ids, _ in rows], len, *limits)
            ],
            **relations(queries, drawn, [key for _, key in rows]),
            "ids": ids,
        }


def _until_last_query(rendered: Rendered) -> Rendered:
    end = rendered.query_positions[-1] + 1
    return Rendered(rendered.ids[:end], rendered.written[:end], rendered.query_positions)


def content_key(passage: Passage) -> int:
    """A key that is equal for equal texts, regardless of ids; fits an int64, never NO_KEY."""
    content = passage.titled_text.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return (int.from_bytes(digest) >> 2) + 1


@dataclass(frozen=True, slots=True)
class Draw:
    """The drawn positive (None trains no retrieval) and hard negatives of each query."""

    targets: tuple[Passage | None, ...]
    negatives: tuple[tuple[Passage, ...], ...]

    def used(self) -> Iterable[tuple[int, tuple[int, Passage]]]:
        """The passages to embed, each once: key, first query that uses it, passage."""
        found: dict[int, tuple[int, Passage]] = {}
        for row, target in enumerate(self.targets):
            for passage in (*([target] if target else []), *self.negatives[row]):
                found.setdefault(content_key(passage), (row, passage))
        return found.items()


def draw(queries: Sequence[PassageQuery], num_negatives: int, rng: random.Random) -> Draw:
    """Draw a positive and up to `num_negatives` hard negatives per query, unused ones first."""
    targets = tuple(rng.choice(q.positives) if q.positives else None for q in queries)
    chosen = {content_key(target) for target in targets if target is not None}
    negatives = []
    for query in queries:
        own = {content_key(positive) for positive in query.positives}
        pool = {key: p for p in query.negatives if (key := content_key(p)) not in own}
        fresh = [key for key in pool if key not in chosen]
        used = [key for key in pool if key in chosen]
        keys = rng.sample(fresh, min(num_negatives, len(fresh)))
        keys += rng.sample(used, min(num_negatives - len(keys), len(used)))
        chosen.update(keys)
        negatives.append(tuple(pool[key] for key in keys))
    return Draw(targets, tuple(negatives))


def relations(
    queries: Sequence[PassageQuery], drawn: Draw, columns: Sequence[int]
) -> dict[str, Tensor]:
    """The relations of queries to the passages with the keys `columns`, see `Collator`.

    For a query without a drawn hard negative, all passages that are not its positives are
    negatives.
    """
    index = {key: column for column, key in enumerate(columns)}
    positive_keys = [[content_key(positive) for positive in q.positives] for q in queries]
    width = max(map(len, positive_keys), default=0)
    negatives = torch.zeros(len(queries), len(columns), dtype=torch.bool)
    targets = torch.full((len(queries),), NO_TARGET)
    for row, target in enumerate(drawn.targets):
        if target is not None:
            targets[row] = index[content_key(target)]
        own = [content_key(p) for p in drawn.negatives[row]]
        own = own or [key for key in columns if key not in positive_keys[row]]
        negatives[row, [index[key] for key in own]] = True
    padded = [[*keys, *[NO_KEY] * (width - len(keys))] for keys in positive_keys]
    return {
        "targets": targets,
        "negatives": negatives,
        "positive_keys": torch.tensor(padded, dtype=torch.long).view(len(queries), width),
        "passage_keys": torch.tensor(columns, dtype=torch.long),
    }
