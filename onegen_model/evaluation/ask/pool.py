"""What can be found: paragraphs of a corpus as passages, and whether all gold is among them."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.questions import Question
from onegen_model.evaluation.ask.ranking import PARAGRAPH, paragraph_of
from onegen_model.events import Passage
from onegen_model.model import OneGenModel
from onegen_model.retrieval.documents import Document, find_files, read_file, split
from onegen_model.retrieval.filters import by_id

# All of a corpus, the candidates of all questions together, or each question's own.
Pool = Literal["corpus", "candidates", "own"]


def read_paragraphs(corpus: Path, questions: Iterable[Question], pool: Pool) -> list[Document]:
    """Paragraphs with their ids, in the order of the corpus; raises InvalidInputError."""
    documents = [one for file in find_files([corpus]).files for one in read_file(file)]
    if pool == "corpus":
        return documents
    wanted = {i for one in questions for i in (*one.candidates, *one.hops)}
    return [one for one in documents if one.id in wanted]


def require_candidates(questions: Iterable[Question]) -> None:
    """Raise InvalidInputError unless each question can find its gold among its own candidates."""
    for one in questions:
        if not one.candidates:
            what = "has no candidates; expected some"
        elif missing := one.gold.difference(one.candidates):
            what = f"has no {min(missing)} among its candidates; expected all its gold"
        else:
            continue
        raise InvalidInputError(
            f"Question {one.id} {what} for --pool own; add them, or choose another pool"
        )


def pieces(model: OneGenModel, paragraphs: Iterable[Document]) -> list[Passage]:
    """Passages "<paragraph>#n" with the paragraph's id in their metadata.

    Raises InvalidInputError for two paragraphs of one id that differ.
    """
    found = (
        Passage(piece.id, piece.text, piece.title, {PARAGRAPH: paragraph.id})
        for paragraph in paragraphs
        for piece in split(paragraph, model.count_tokens, model.max_passage_tokens)
    )
    return list(by_id(found).values())


def require_gold(questions: Sequence[Question], passages: Iterable[Passage]) -> None:
    """Raise InvalidInputError unless every gold paragraph can be found."""
    known = {paragraph_of(passage) for passage in passages}
    if not known:
        raise InvalidInputError(
            "There is no passage to search; expected some; name another corpus or index"
        )
    missing = [(one.id, gold) for one in questions for gold in one.hops if gold not in known]
    if missing:
        raise InvalidInputError(
            f"Gold paragraph {missing[0][1]} of question {missing[0][0]} is not among the "
            f"{len(known)} paragraphs to search ({len(missing)} in all are not); expected each; "
            "name the corpus, or an index of it, that belongs to the questions"
        )


def digest(passages: Iterable[Passage]) -> str:
    """Names passages by id, title and text, in any order."""
    lines = sorted(json.dumps([one.id, one.title, one.text]) for one in passages)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
