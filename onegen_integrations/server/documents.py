"""Addresses of passages: every citation resolves to its passage on this server."""

from urllib.parse import quote

from onegen_model import Citation, ScoredPassage


def document_url(base: str, passage_id: str) -> str:
    """The address of a passage below `base`, see `base_url`."""
    return f"{base}/v1/documents/{quote(passage_id, safe='')}"


def document_title(citation: Citation) -> str:
    """What a reader sees: the title, else the file and the place in it."""
    return citation.title or citation.label


def hit(scored: ScoredPassage, base: str) -> dict[str, object]:
    """A passage of a search as JSON, for the fields that this server adds."""
    passage = scored.passage
    return {
        "id": passage.id,
        "title": passage.title,
        "text": passage.text,
        "score": scored.score,
        "url": document_url(base, passage.id),
    }
