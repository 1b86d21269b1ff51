"""All files of the world, as they are to be on disk."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from training.invented_world.articles import load_phrases, write_article
from training.invented_world.checks import check
from training.invented_world.labels import write_claims, write_mentions
from training.invented_world.questions import write_questions
from training.invented_world.world import FOLDER, load_world


def build() -> Mapping[str, str]:
    """The text of each file by its name; raises ContradictionError."""
    world, phrases = load_world(), load_phrases()
    check(world, phrases)
    articles = {one.id: write_article(one, phrases, world).text for one in world.values()}
    corpus = [{"id": i, "title": world[i].title, "text": text} for i, text in articles.items()]
    return {
        "corpus.jsonl": _lines(corpus),
        "questions.jsonl": _lines(write_questions(_specs("questions"), world)),
        "mentions.jsonl": _lines(write_mentions(_specs("mentions"), world)),
        "claims.jsonl": _lines(write_claims(_specs("claims"), world)),
    }


def _specs(name: str) -> Sequence[Mapping[str, Any]]:
    loaded = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return list(loaded)


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
