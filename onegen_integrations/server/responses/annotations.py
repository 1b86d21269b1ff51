"""Citations and search results of a response, by file for OpenAI's readers and by address."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from onegen_integrations.server.answering import CitedSpan
from onegen_integrations.server.documents import document_title, document_url
from onegen_integrations.server.responses.items import Plain
from onegen_integrations.server.stores.names import cited_file
from onegen_integrations.server.stores.store_routes import shown_score
from onegen_integrations.shared.json_values import json_metadata
from onegen_model import Passage, ScoredPassage


@dataclass(slots=True)
class Sources:
    """The passages that an answer has found; `base` begins their addresses."""

    base: str
    _passages: dict[str, Passage] = field(init=False, default_factory=dict)
    _cited: set[str] = field(init=False, default_factory=set)

    def results(self, found: Iterable[ScoredPassage]) -> list[Plain]:
        """The results of a search, each with the id and address of its passage besides."""
        return [self._result(one) for one in found]

    def annotations(self, span: CitedSpan) -> list[Plain]:
        """A `file_citation` for each file once, and a `url_citation` for each passage.

        The index of a file's citation is where its mark would stand, behind the cited span.
        """
        citation = span.citation
        about = {"document_id": citation.passage_id, "score": citation.score}
        address = {
            "type": "url_citation",
            "start_index": span.start,
            "end_index": span.end,
            "title": document_title(citation),
            "url": document_url(self.base, citation.passage_id),
            **about,
            **({"cited_text": span.text} if span.text else {}),
        }
        passage = self._passages.get(citation.passage_id)
        file = cited_file(passage) if passage else None
        if file is None or file.id in self._cited:
            return [address]
        self._cited.add(file.id)
        named = {"type": "file_citation", "file_id": file.id, "filename": file.filename}
        return [{**named, "index": span.end}, address]

    def _result(self, found: ScoredPassage) -> Plain:
        passage = found.passage
        self._passages[passage.id] = passage
        file = cited_file(passage)
        return {
            "file_id": file.id,
            "filename": file.filename,
            "score": shown_score(found),
            "text": passage.text,
            "attributes": json_metadata(file.attributes),
            "document_id": passage.id,
            "url": document_url(self.base, passage.id),
        }
