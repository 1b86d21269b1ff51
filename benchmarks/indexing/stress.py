"""Several writers of one index, some of them killed, and a reader meanwhile.

Each writer has a folder of its own and changes a file of it in every round. A killed writer is
started again and killed again, and at last left alone. The reader loads the index all the time and
checks that each vector is that of its passage. At the end the index must hold exactly what an index
holds that one process makes of the same files.
"""

import multiprocessing
import random
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.indexing.fake import ConstantTimeEmbedder
from benchmarks.indexing.folders import fill_small
from onegen_model import PassageIndex
from onegen_model.errors import PassageIndexError
from onegen_model.indexing.options import IndexingOptions
from onegen_model.indexing.sync import grow_index
from onegen_model.retrieval.manifest import is_embedded

SECONDS_PER_PASSAGE = 0.002
# Every batch is saved, so that a kill often meets a save.
OPTIONS = IndexingOptions(batch=16, save_every=0.0)
_TRIES, _PAUSE = 2_000, 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done: files in each folder, rounds of each writer, kills of the third one."""

    files: int = 30
    rounds: int = 6
    kills: int = 8


class _Signalling(ConstantTimeEmbedder):
    """Says when it begins to embed."""

    def __init__(self, begun: Any) -> None:
        super().__init__(SECONDS_PER_PASSAGE)
        self._begun = begun

    def embed_passages(self, passages: Any, *, progress: bool = False) -> Any:
        self._begun.set()
        return super().embed_passages(passages, progress=progress)


def run_stress(work: Path, plan: Plan) -> dict[str, Any]:
    """Counts of lost, stale and wrong passages, which must be 0, and of what happened."""
    documents, out = work / "documents", work / "stress.index"
    for seed, name in enumerate(("first", "second", "killed")):
        fill_small(documents / name, plan.files, seed)
    context = multiprocessing.get_context("spawn")
    end, refused = context.Event(), context.Value("i", 0)
    loads, wrong = context.Value("i", 0), context.Value("i", 0)
    writers = [
        context.Process(target=write, args=(documents / name, out, plan.rounds, refused))
        for name in ("first", "second")
    ]
    reader = context.Process(target=read, args=(out, end, loads, wrong))
    for process in (*writers, reader):
        process.start()
    kills = sum(kill_one(context, documents / "killed", out, n) for n in range(plan.kills))
    for process in writers:
        process.join()
    end.set()
    reader.join()
    grow_with_patience(ConstantTimeEmbedder(), documents / "killed", out)
    failed = sum(process.exitcode != 0 for process in (*writers, reader))
    return {
        **compare(documents, out, work / "alone.index"),
        "wrong": wrong.value,
        "failed_processes": failed,
        "kills": kills,
        "refused_writes": refused.value,
        "loads": loads.value,
    }


def write(folder: Path, out: Path, rounds: int, refused: Any) -> None:
    files = sorted(folder.rglob("*.md"))
    for number in range(rounds):
        changed = files[number % len(files)]
        text = changed.read_text(encoding="utf-8")
        changed.write_text(f"{text}\nRound {number} of {folder.name}.\n", encoding="utf-8")
        refusals = grow_with_patience(ConstantTimeEmbedder(SECONDS_PER_PASSAGE), folder, out)
        with refused.get_lock():
            refused.value += refusals


def grow_with_patience(embedder: ConstantTimeEmbedder, folder: Path, out: Path) -> int:
    """Try until no other process is writing; returns how often one was."""
    for tried in range(_TRIES):
        try:
            grow_index(embedder, [folder], out, options=OPTIONS)
        except PassageIndexError as error:
            if "Another process is writing" not in str(error):
                raise
            time.sleep(_PAUSE)
        else:
            return tried
    raise TimeoutError(f"{out} was never free")


def kill_one(context: Any, folder: Path, out: Path, number: int) -> int:
    """Start a writer and kill it a moment after it began to embed; returns 1 if it was alive."""
    changed = sorted(folder.rglob("*.md"))[0]
    text = changed.read_text(encoding="utf-8")
    changed.write_text(f"{text}\nKill {number}.\n", encoding="utf-8")
    begun = context.Event()
    process = context.Process(target=_grow_signalling, args=(folder, out, begun))
    process.start()
    begun.wait(60)
    time.sleep(random.Random(number).random() * 0.3)
    process.kill()
    process.join()
    return int(process.exitcode != 0)


def _grow_signalling(folder: Path, out: Path, begun: Any) -> None:
    grow_with_patience(_Signalling(begun), folder, out)


def read(out: Path, end: Event, loads: Any, wrong: Any) -> None:
    embedder = ConstantTimeEmbedder()
    while not end.is_set():
        if not is_embedded(out):
            time.sleep(_PAUSE)
            continue
        for passages, vectors in PassageIndex.load(embedder, out).batches():
            right = embedder.embed_passages(passages)
            wrong.value += int((np.abs(right - vectors).max(axis=1) > 1e-6).sum())
        loads.value += 1


def compare(documents: Path, out: Path, alone: Path) -> dict[str, int]:
    """The index beside one that a single process makes."""
    embedder = ConstantTimeEmbedder()
    grow_index(embedder, [documents], alone)
    wanted, held = (
        {(one.id, one.text) for one in PassageIndex.load(embedder, path).passages}
        for path in (alone, out)
    )
    return {"passages": len(wanted), "lost": len(wanted - held), "stale": len(held - wanted)}
