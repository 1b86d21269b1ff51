"""Rows of question files about films, and their paragraphs."""

from typing import Any


def hop(name: str, relation: str, value: str, question: str = "") -> dict[str, Any]:
    return {
        "question": question or f"{relation} of {name}?",
        "answer": value,
        "title": name,
        "paragraph_id": f"p-{name}",
        "triple": [name, relation, value],
    }


def row(question: str, answer: str, kind: str, *hops: dict[str, Any]) -> dict[str, Any]:
    found = [h["paragraph_id"] for h in hops]
    return {
        "id": question,
        "dataset": "2wiki",
        "type": kind,
        "question": question,
        "answer": answer,
        "hops": list(hops),
        "supporting": found,
        "candidates": [*found, "p-other"],
    }


PARAGRAPHS = {
    "p-Elk": {"title": "Elk", "text": "Elk is a 1962 Haldrian film directed by Ada. It was long."},
    "p-Fir": {"title": "Fir", "text": "Fir is a 1975 silent drama film."},
    "p-Ada": {"title": "Ada", "text": "Ada was born in Ondrel, Tarsevia and died in May 1990."},
}
