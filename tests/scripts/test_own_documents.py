"""The folder of documents in all kinds, its questions, and how their answers are scored."""

import gzip
import json
import zipfile
from array import array
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.own_documents.__main__ import main
from benchmarks.own_documents.asking import Asker, Outcome, to_dict
from benchmarks.own_documents.blocks import Block, parse
from benchmarks.own_documents.making import ENCODINGS, make, sources
from benchmarks.own_documents.questions import OwnQuestion, holds, read_own_questions
from benchmarks.own_documents.scoring import score, score_limits, score_refusals
from onegen_model import Passage, PassageIndex, Query
from onegen_model.places import PassagePlace
from tests.support.fake_embedder import FakeEmbedder

QUESTIONS = read_own_questions()
ANSWERABLE = [one for one in QUESTIONS if one.answers]
SUFFIXES = (
    ".txt .md .rst .html .pdf .docx .pptx .xlsx .csv .epub .ipynb .py .js .yaml .toml .json .log "
    ".jsonl .gz"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("own")
    assert main(["make", str(made)]) == 0
    return made


def test_the_folder_has_files_of_all_kinds(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 32
    assert {path.suffix for path in files} == set(SUFFIXES.split())
    assert all(path.stat().st_size for path in files)


def test_a_second_folder_has_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for path in make(tmp_path):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes(), path


def test_kinds_are_what_their_names_say(folder: Path) -> None:
    for suffix in (".docx", ".pptx", ".xlsx", ".epub"):
        for path in folder.rglob(f"*{suffix}"):
            assert zipfile.is_zipfile(path)
    book = zipfile.ZipFile(folder / "books/the_lamp.epub")
    assert book.namelist()[0] == "mimetype"
    assert book.infolist()[0].compress_type == zipfile.ZIP_STORED
    assert (folder / "reports/annual_report.pdf").read_bytes().startswith(b"%PDF-")
    for name, encoding in ENCODINGS.items():
        data = (folder / name).read_bytes()
        assert data.decode(encoding) == sources()[name]
        with pytest.raises(UnicodeDecodeError):
            data.decode("utf-8")
    for path in folder.rglob("*.ipynb"):
        assert json.loads(path.read_text(encoding="utf-8"))["nbformat"] == 4


def test_records_are_in_three_forms(folder: Path) -> None:
    def first(path: Path) -> dict[str, Any]:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        rows = [json.loads(line) for line in text.splitlines()]
        assert len(rows) > 1
        return dict(rows[0])

    records = folder / "records"
    assert {"id", "title", "text", "metadata"} == set(first(records / "library.jsonl"))
    assert {"id", "title", "text", "metadata"} == set(first(records / "archive.jsonl.gz"))
    assert {"_id", "title", "text"} == set(first(records / "birds_beir.jsonl"))
    assert {"id", "contents"} == set(first(records / "people_flashrag.jsonl"))


def test_questions_ask_about_all_kinds() -> None:
    assert len(ANSWERABLE) == 44
    assert len(QUESTIONS) - len(ANSWERABLE) == 16
    assert len({one.id for one in QUESTIONS}) == len({one.question for one in QUESTIONS}) == 60
    suffixes = {Path(one.source or "").suffix for one in ANSWERABLE}
    assert suffixes >= set(SUFFIXES.split()) - {".yaml"}
    assert {"heading", "table"} == {one.needs for one in ANSWERABLE} - {None}


@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda one: one.id)
def test_an_answer_stands_in_one_file_alone(question: OwnQuestion) -> None:
    texts = sources()
    assert [name for name, text in texts.items() if holds(text, question.answers)] == [
        question.source
    ]
    assert not holds(question.question, question.answers)
    assert question.question not in texts[question.source or ""]


def test_an_answer_is_right_as_whole_words_in_any_case() -> None:
    assert holds("It was\n the SLEEPING  ox.", ("Sleeping Ox",))
    assert not holds("3.15", ("3.1",))
    assert not holds("oxen", ("ox",))


def test_a_text_is_parsed_into_blocks() -> None:
    text = "# A\n\nOne.\nTwo.\n- item\n> said\n<<page>>\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    assert list(parse(text)) == [
        Block("heading", "A", 1),
        Block("paragraph", "One."),
        Block("paragraph", "Two."),
        Block("item", "item"),
        Block("note", "said"),
        Block("page", "<<page>>"),
        Block("table", rows=(("a", "b"), ("1", "2"))),
    ]


PASSAGES = [("right.txt", "The fox is red."), ("other.txt", "Nothing of use.")]


class Fixed(FakeEmbedder):
    """The two passages have the two unit vectors of a plane."""

    def __init__(self) -> None:
        super().__init__(dimension=2)

    def embed_passages(self, passages: Any, *, progress: bool = False) -> NDArray[np.float32]:
        return np.eye(2, dtype=np.float32)[[int(one.id.startswith("other")) for one in passages]]


class Searching:
    """A model that searches once with a given vector, inserts one passage, and answers."""

    def __init__(self, vector: list[float], text: str) -> None:
        self.vector, self.text = vector, text

    def generate(
        self, questions: list[str], *, retriever: Any, retrieval: Any
    ) -> list[SimpleNamespace]:
        queries = [Query(array("f", self.vector), one, 1, question=one) for one in questions]
        return [
            SimpleNamespace(
                text=self.text, retrievals=[SimpleNamespace(passages=hits)], found=bool(self.text)
            )
            for hits in retriever.retrieve(queries)
        ]


def ask(tmp_path: Path, vector: list[float], text: str, kept: int = 2) -> Outcome:
    passages = [
        Passage(f"{name}#0", said, metadata=PassagePlace(f"docs/{name}", name).to_metadata())
        for name, said in PASSAGES[-kept:]
    ]
    index = PassageIndex.build(Fixed(), passages)
    model: Any = Searching(vector, text)
    asker = Asker(model, index, tmp_path / "docs", tmp_path)
    question = OwnQuestion("q", "Which colour?", ("red",), "right.txt", "txt", "heading")
    return next(asker.ask([question]))


RIGHT, OTHER = [1.0, 0.0], [0.0, 1.0]


@pytest.mark.parametrize(
    ("vector", "text", "kept", "verdict"),
    [
        (RIGHT, "It is red.", 2, "right"),
        (RIGHT, "blue", 2, "read wrongly"),
        (OTHER, "blue", 2, "rank 2"),
        (OTHER, "blue", 1, "file not read"),
        (RIGHT, "", 2, "refused"),
    ],
)
def test_a_verdict_says_why(
    tmp_path: Path, vector: list[float], text: str, kept: int, verdict: str
) -> None:
    outcome = ask(tmp_path, vector, text, kept)
    assert outcome.verdict == verdict
    assert outcome.source_first == outcome.passage_inserted == (vector == RIGHT)
    assert to_dict(outcome)["verdict"] == verdict


def test_scores_count_by_kind_and_by_what_was_read(tmp_path: Path) -> None:
    outcomes = [ask(tmp_path, RIGHT, "red"), ask(tmp_path, OTHER, "blue", 1)]
    rows = score(outcomes)
    assert rows["all"]["right"].value == rows["txt"]["right"].value == 0.5
    assert rows["of files that were read"]["right"].value == 1
    assert rows["the fact needs its heading"]["questions"].value == 2
    assert rows["the fact needs the header of its table"]["questions"].value == 0


def test_a_question_without_an_answer_is_answered_or_refused(tmp_path: Path) -> None:
    nothing = OwnQuestion("u", "Which shape?", (), None, "unanswerable")
    outcomes = [replace(ask(tmp_path, RIGHT, text), question=nothing) for text in ("blue", "")]
    assert [one.verdict for one in outcomes] == ["answered", "refused"]


def test_refusals_are_counted_on_both_sides(tmp_path: Path) -> None:
    answered, refused = ask(tmp_path, RIGHT, "red"), ask(tmp_path, RIGHT, "")
    without = replace(refused, question=replace(refused.question, answers=(), source=None))
    shares = score_refusals([answered, refused, without])
    assert shares["refused"].value == 1
    assert shares["refused although answerable"].value == 0.5


def test_a_limit_refuses_the_searches_below_it(tmp_path: Path) -> None:
    sure = replace(ask(tmp_path, RIGHT, "red"), scores=(0.9, 0.8))
    unsure = replace(ask(tmp_path, RIGHT, "blue"), scores=(0.9, 0.62))
    shares = {
        name: columns["refused although answerable"].value
        for name, columns in score_limits([sure, unsure]).items()
    }
    assert shares["min_score 0.60"] == 0
    assert shares["min_score 0.65"] == shares["min_score 0.80"] == 0.5
    assert shares["min_score 0.85"] == 1
