"""The passages that an evaluation searches: pieces of a corpus's paragraphs."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from onegen_model.documents.document import Document
from onegen_model.documents.finding import find_files
from onegen_model.documents.reading import read_file
from onegen_model.documents.splitting import PassageSplitter
from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.questions import GoldQuestion
from onegen_model.evaluation.ask.ranking import PARAGRAPH, paragraph_of
from onegen_model.evaluation.ask.settings import Pool
from onegen_model.events import Passage
from onegen_model.model import OneGenModel
from onegen_model.retrieval.checks import by_id


def read_paragraphs(corpus: Path, questions: Iterable[GoldQuestion], pool: Pool) -> list[Document]:
    """Paragraphs of the pool, in the order of the corpus; raises InvalidInputError."""
    documents = [one for file in find_files([corpus]).files for one in read_file(file)]
    if pool == "corpus":
        return documents
    wanted = {i for one in questions for i in (*one.candidates, *one.hops)}
    return [one for one in documents if one.id in wanted]


def require_candidates(questions: Iterable[GoldQuestion]) -> None:
    """Raise InvalidInputError unless each question has its gold among its own candidates."""
    for one in questions:
        if not one.candidates:
            what = "has no candidates; expected some"
        elif missing := one.gold.difference(one.candidates):
            what = f"has no {min(missing)} among its candidates; expected all its gold"
        else:
            continue
        raise InvalidInputError(
            f"Question {one.id} {what} for the pool own; add them, or choose another pool"
        )


def pieces(model: OneGenModel, paragraphs: Iterable[Document]) -> list[Passage]:
    """Paragraphs split into passages `<paragraph>#<n>`; their metadata holds the paragraph's id.

    Raises InvalidInputError for two different paragraphs with one id.
    """
    splitter = PassageSplitter.for_model(model)
    found = (
        Passage(piece.id, piece.text, piece.title, {PARAGRAPH: paragraph.id})
        for paragraph in paragraphs
        for piece in splitter.split(paragraph)
    )
    return list(by_id(found).values())


def require_gold(questions: Sequence[GoldQuestion], passages: Iterable[Passage]) -> None:
    """Raise InvalidInputError unless every gold paragraph is in the pool."""
    known = {paragraph_of(passage) for passage in passages}
    if not known:
        raise InvalidInputError(
            "The pool holds no passage; expected some to search; name another corpus or index"
        )
    missing = [(one.id, gold) for one in questions for gold in one.hops if gold not in known]
    if missing:
        raise InvalidInputError(
            f"Gold paragraph {missing[0][1]} of question {missing[0][0]} is not among the "
            f"{len(known)} paragraphs to search ({len(missing)} in all are not); expected each; "
            "name the corpus, or an index of it, that belongs to the questions"
        )


def digest(passages: Iterable[Passage]) -> str:
    """A short digest of ids, titles and texts, independent of their order."""
    lines = sorted(json.dumps([one.id, one.title, one.text]) for one in passages)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
