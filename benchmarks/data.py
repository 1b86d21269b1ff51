"""Questions, paragraphs and the index over them: what all benchmarks ask about.

A folder holds `multihop_dev.jsonl.gz` and `multihop_corpus.jsonl.gz`, or `questions.jsonl` and
`corpus.jsonl`. Without `--data` it is the bundled encyclopaedia of an invented world, of whose
questions those marked `"quick": true` are asked. Recall is counted on paragraphs; a paragraph
longer than a passage of the model is indexed in pieces, split as `onegen index` splits documents.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

import onegen_model
from onegen_model import OneGenModel, PassageIndex
from onegen_model.documents.document import Document
from onegen_model.documents.reading import read_file
from onegen_model.errors import InvalidInputError
from onegen_model.evaluation import GoldQuestion, read_questions, read_training_gold
from onegen_model.evaluation.ask.pool import pieces
from onegen_model.evaluation.ask.questions import parse_question, spaced
from onegen_model.jsonl import JsonLines
from onegen_model.retrieval.manifest import is_embedded

__all__ = ["Data", "GoldQuestion", "load", "open_index", "own_candidates", "pieces"]

WORLD = Path(onegen_model.__file__).parent / "demo"
INDEXES = Path(__file__).parent.parent / "runs" / "benchmarks"
MIN_PARAGRAPHS = 300
PASSAGES_PER_SAVE = 256


@dataclass(frozen=True, slots=True)
class Data:
    """`paragraphs` by id; `trained` are the gold paragraphs of training, None where unknown."""

    questions: Sequence[GoldQuestion]
    paragraphs: dict[str, Document]
    trained: frozenset[str] | None


def add_options(parser: argparse.ArgumentParser, limit: int | None = None) -> None:
    """What every benchmark takes."""
    number = limit or "all"
    parser.add_argument("--data", type=Path, default=WORLD, help="folder (default: invented world)")
    parser.add_argument("--model", help="a checkpoint (default: the one of the package)")
    parser.add_argument(
        "--limit", type=int, default=limit, help=f"questions, evenly spaced (default: {number})"
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """What benchmarks that ask in batches over one large pool take as well."""
    parser.add_argument("--paragraphs", type=int, help="at most as many, gold ones first")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--max-new-tokens", type=int, default=256)


def load(
    folder: Path,
    *,
    limit: int | None = None,
    paragraphs: int | None = None,
    unanswerable: bool = False,
) -> Data:
    """Questions and their pool: all candidates of all questions of the folder, at least 300.

    With `paragraphs` the pool is cut to as many: gold ones of the questions taken come first.
    `unanswerable` questions have an empty answer; they are for checks that score no answers.
    """
    asked, corpus_file = _find_files(folder)
    everything = _read(asked) if unanswerable else read_questions(asked)
    questions = spaced(_choose(asked, everything), limit)
    corpus = {one.id: one for one in read_file(corpus_file)}
    wanted = dict.fromkeys(i for one in questions for i in one.hops)
    wanted |= dict.fromkeys(i for one in questions for i in one.candidates)
    wanted |= dict.fromkeys(i for one in everything for i in one.candidates)
    if missing := [i for i in wanted if i not in corpus]:
        raise InvalidInputError(
            f"The corpus in {folder} lacks {len(missing)} paragraphs of the questions (the first: "
            f"{missing[0]}); expected all; fetch the two files that belong together"
        )
    size = paragraphs or max(len(wanted), MIN_PARAGRAPHS)
    pool = list(wanted | dict.fromkeys(corpus))[:size]
    return Data(tuple(questions), {i: corpus[i] for i in pool}, _gold_of_training(folder))


def _find_files(folder: Path) -> tuple[Path, Path]:
    if (folder / "questions.jsonl").exists():
        return folder / "questions.jsonl", folder / "corpus.jsonl"
    return folder / "multihop_dev.jsonl.gz", folder / "multihop_corpus.jsonl.gz"


def _read(asked: Path) -> list[GoldQuestion]:
    """All questions of a file, those without an answer as well."""
    return [parse_question(row) for row in JsonLines(asked)]


def _choose(asked: Path, questions: list[GoldQuestion]) -> list[GoldQuestion]:
    """The quick questions of a file that marks some, else all."""
    quick = {row["id"] for row in JsonLines(asked) if row.get("quick")}
    return [one for one in questions if one.id in quick or not quick]


def own_candidates(data: Data) -> Data:
    """The same questions over no paragraphs but their own candidates."""
    wanted = dict.fromkeys(i for one in data.questions for i in one.candidates)
    return replace(data, paragraphs={i: data.paragraphs[i] for i in wanted})


def _gold_of_training(folder: Path) -> frozenset[str] | None:
    files = [folder / f"multihop_{name}.jsonl.gz" for name in ("train", "silver_train")]
    if not all(file.exists() for file in files):
        return None
    return read_training_gold(files)


def open_index(model: OneGenModel, data: Data, folder: Path = INDEXES) -> PassageIndex:
    """The index over all pieces; built once for each model, dtype and pool; resumable."""
    dtype = str(model.network.dtype).removeprefix("torch.")
    pool = hashlib.sha256(json.dumps(sorted(data.paragraphs)).encode()).hexdigest()
    path = folder / f"{model.fingerprint[:12]}-{dtype}-{pool[:8]}.index"
    index = PassageIndex.load(model, path) if is_embedded(path) else PassageIndex(model)
    passages = pieces(model, data.paragraphs.values())
    held = {one.id: one for one in index.passages}
    missing = [passage for passage in passages if held.get(passage.id) != passage]
    with tqdm(total=len(missing), desc="Indexing", unit="passage", disable=not missing) as bar:
        for start in range(0, len(missing), PASSAGES_PER_SAVE):
            some = missing[start : start + PASSAGES_PER_SAVE]
            index.add(some)
            path.parent.mkdir(parents=True, exist_ok=True)
            index.save(path)
            bar.update(len(some))
    return index
