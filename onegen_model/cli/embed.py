"""`onegen embed`: a corpus into shards of passages and vectors, once, by one process or several."""

import json
import os
import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from onegen_model.cli.index import read_passages
from onegen_model.cli.interrupts import INTERRUPTED, Interrupts
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.retrieval.corpus import (
    EmbeddingSpec,
    Manifest,
    ShardFiles,
    damaged,
    read_manifest,
)
from onegen_model.retrieval.corpus_writer import (
    Shard,
    begin,
    cut,
    find_missing,
    find_present,
    finish,
    require_same_corpus,
    withdraw_broken,
    write_passages,
    write_vectors,
)
from onegen_model.retrieval.documents import find_files, warn_of_skipped
from onegen_model.retrieval.embedder import BATCH_TOKENS

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel
    from onegen_model.model import OneGenModel

_SHARD_SIZE = 2048
# Few enough passages between two looks at the bar, and enough to fill their forwards.
_MIN_POSITIONS_OF_A_PASSAGE = 8


@dataclass(frozen=True, slots=True)
class Worker:
    """One of `count` processes that share the shards out, as `torchrun` starts them."""

    rank: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls) -> "Worker":
        """RANK and WORLD_SIZE; the only one where they are not set."""
        given = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        if all(map(str.isdecimal, given)):
            worker = cls(*map(int, given))
            if worker.rank < worker.count:
                return worker
        raise InvalidInputError(
            f"RANK={given[0]} and WORLD_SIZE={given[1]} in the environment; expected a number from "
            "0 up to below WORLD_SIZE; start the processes with torchrun, or unset both"
        )

    @property
    def is_first(self) -> bool:
        """Whether it is the one that shows bars and warnings."""
        return self.rank == 0


def add_embed(commands: "_SubParsersAction[ArgumentParser]", common: ArgumentParser) -> None:
    """The parser of `onegen embed`."""
    embed = commands.add_parser(
        "embed",
        parents=[common],
        help="embed a corpus once, for any index",
        description="Embed txt, md and jsonl files, shard by shard. Run it again to go on after it "
        "was stopped, or to follow changed files. `onegen ask --index DIR` searches the result. "
        "On several GPUs: torchrun --nproc_per_node N -m onegen_model.cli embed …",
    )
    embed.add_argument("paths", nargs="+", metavar="CORPUS", help="files and folders")
    embed.add_argument("--out", required=True, metavar="DIR", help="new, or to go on in")
    embed.add_argument(
        "--shard-size", type=int, default=_SHARD_SIZE, help="passages, about (%(default)s)"
    )
    embed.add_argument(
        "--batch",
        type=int,
        default=BATCH_TOKENS,
        help="positions per forward; a GPU takes many more (%(default)s)",
    )
    embed.add_argument(
        "--store-as",
        choices=("float32", "float16"),
        default="float32",
        help="the vectors on disk (%(default)s)",
    )
    embed.set_defaults(run=run_embed)


def run_embed(options: Namespace, load_model: "LoadModel") -> int:
    for name in ("batch", "shard_size"):
        if (given := getattr(options, name)) < 1:
            flag = name.replace("_", "-")
            raise InvalidInputError(f"{name}={given}; expected at least 1; change --{flag}")
    worker, out = Worker.from_environment(), Path(options.out)
    found = find_files(options.paths)
    if worker.is_first:
        warn_of_skipped(found)
    _use_own_device()
    model = load_model(options.model, options.dtype)
    made = EmbeddingSpec(
        model.fingerprint,
        model.dimension,
        model.max_passage_tokens,
        options.dtype,
        options.store_as,
        options.shard_size,
    )
    begin(out, made)
    reading = read_passages(model, found.files, progress=worker.is_first)
    if not reading.passages:
        raise InvalidInputError(
            "All documents are empty; expected some text; choose other files or folders"
        )
    shards = cut(reading.passages, made.shard_size)
    require_same_corpus(out, shards)
    return _make(Job(model, out, made, worker, options.batch), shards, as_json=options.json)


def _use_own_device() -> None:
    if (local_rank := os.environ.get("LOCAL_RANK", "")).isdecimal():
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_device(int(local_rank) % torch.cuda.device_count())


@dataclass(frozen=True, slots=True)
class Job:
    """What one process needs to make its shards; `batch` is in positions."""

    model: "OneGenModel"
    out: Path
    made: EmbeddingSpec
    worker: Worker
    batch: int

    def embed(self, shards: Sequence[Shard]) -> int | None:
        """Write the vectors of shards; returns how many passages these had, None after Ctrl-C."""
        total = sum(len(shard.passages) for shard in shards)
        bar = tqdm(
            total=total,
            desc="Embedding" if self.worker.count == 1 else f"Embedding (1 of {self.worker.count})",
            unit="passage",
            disable=None if self.worker.is_first else True,
        )
        with bar, Interrupts() as interrupts:
            for shard in shards:
                vectors = self._embed_shard(shard, bar, interrupts)
                if vectors is None:
                    return None
                write_vectors(self.out, shard, vectors)
        return total

    def _embed_shard(
        self, shard: Shard, bar: "tqdm[Never]", interrupts: Interrupts
    ) -> NDArray[np.floating[Any]] | None:
        """(n, dimension), in the order of the shard, although long ones are embedded together."""
        vectors = np.empty((len(shard.passages), self.made.dimension), np.float32)
        order = sorted(range(len(shard.passages)), key=lambda at: -_length(shard.passages[at]))
        step = max(1, self.batch // _MIN_POSITIONS_OF_A_PASSAGE)
        for start in range(0, len(order), step):
            if interrupts.requested:
                return None
            some = order[start : start + step]
            passages = [shard.passages[at] for at in some]
            vectors[some] = self.model.embed_passages(passages, batch=self.batch)
            bar.update(len(some))
        if not np.isfinite(vectors).all():
            raise InvalidInputError(
                f"Vectors with NaN or infinite numbers, computed in {self.made.dtype}; expected "
                "unit vectors; use --dtype bfloat16 or float32, with another --out"
            )
        return vectors.astype(self.made.stored_as)


def _length(passage: Passage) -> int:
    return len(passage.title) + len(passage.text)


def _make(job: Job, shards: Sequence[Shard], *, as_json: bool) -> int:
    own = shards[job.worker.rank :: job.worker.count]
    missing = find_missing(job.out, own)
    withdraw_broken(job.out)
    write_passages(job.out, own)
    was_whole = read_manifest(job.out) == Manifest(job.made, find_present(job.out, shards))
    embedded = job.embed(missing)
    present = find_present(job.out, shards)
    if embedded is None:
        if job.worker.is_first:
            sys.stderr.write(
                f"onegen: stopped; {len(present)} of {_count(len(shards))} are in {job.out}; run "
                "the same command again to go on\n"
            )
        return INTERRUPTED
    if len(present) == len(shards):
        is_new = finish(job.out, Manifest(job.made, present))
        if is_new or (was_whole and job.worker.is_first):
            _report(job, present, embedded, as_json=as_json)
    elif job.worker.count == 1:
        raise damaged(job.out, "lost shards while it was made")
    return 0


def _report(job: Job, shards: Sequence[ShardFiles], embedded: int, *, as_json: bool) -> None:
    """`embedded` is what this process did."""
    passages = sum(shard.count for shard in shards)
    if as_json:
        numbers = {"passages": passages, "shards": len(shards), "embedded": embedded}
        line = json.dumps({"corpus": str(job.out), **numbers}, ensure_ascii=False)
    else:
        by = f" by the last of {job.worker.count} processes" if job.worker.count > 1 else ""
        line = (
            f"{job.out}: {passages} passages in {_count(len(shards))} ({embedded} embedded now{by})"
        )
    sys.stdout.write(f"{line}\n")


def _count(shards: int) -> str:
    return f"{shards} shard{'' if shards == 1 else 's'}"
