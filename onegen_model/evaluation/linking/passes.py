"""One way to link the mentions of documents, with our model or by a baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.linking.baselines import Baseline
from onegen_model.evaluation.linking.documents import LinkingDocument, Span
from onegen_model.evaluation.linking.predictions import KEPT, Hit, Hits, Prediction
from onegen_model.linking.mentions import LinkedText, Mention
from onegen_model.linking.params import LinkingParams
from onegen_model.model import OneGenModel
from onegen_model.retrieval.index import PassageIndex
from onegen_model.retrieval.names import name_similarity

_NAME_WEIGHT = LinkingParams().name_weight


class Links(Protocol):
    """Finds what a log keeps of each document."""

    def predict(self, documents: Sequence[LinkingDocument]) -> list[Prediction]: ...


@dataclass(frozen=True, slots=True)
class Pass:
    """A way to link, and the log it writes to."""

    system: str
    setting: str
    links: Links


@dataclass(frozen=True, slots=True)
class OwnLinks:
    """Our model. `params` find mentions; without them the marked ones are linked."""

    model: OneGenModel
    index: PassageIndex
    params: LinkingParams | None = None
    among_candidates: bool = False

    def predict(self, documents: Sequence[LinkingDocument]) -> list[Prediction]:
        """One for each document; raises InvalidInputError with the place of a wrong mention."""
        # A text without a marked mention needs no model where only those are linked.
        asked = [one for one in documents if self.params or one.mentions]
        found = dict(zip((one.id for one in asked), self._link(asked), strict=True))
        return [_prediction(one, found.get(one.id)) for one in documents]

    def _link(self, documents: Sequence[LinkingDocument]) -> list[LinkedText]:
        try:
            return self._link_batch(documents)
        except InvalidInputError:
            for one in documents:  # The error of a batch does not tell which text it is about.
                try:
                    self._link_batch([one])
                except InvalidInputError as error:
                    raise InvalidInputError(f"{one.place}: text {one.id!r}: {error}") from error
            raise

    def _link_batch(self, documents: Sequence[LinkingDocument]) -> list[LinkedText]:
        if not documents:
            return []
        return self.model.link(
            [one.text for one in documents],
            entities=self.index,
            linking=[self.params or self._given(one) for one in documents],
        )

    def _given(self, document: LinkingDocument) -> LinkingParams:
        among = [one.candidates for one in document.mentions] if self.among_candidates else None
        spans = [one.span for one in document.mentions]
        return LinkingParams(spans, num_candidates=KEPT, candidates=among)


@dataclass(frozen=True, slots=True)
class SpanLinks:
    """A baseline; `spans` are found mentions by document, in place of the marked ones."""

    baseline: Baseline
    among_candidates: bool = False
    spans: Mapping[str, tuple[Span, ...]] | None = None

    def predict(self, documents: Sequence[LinkingDocument]) -> list[Prediction]:
        """One for each document."""
        return [self._predict(one) for one in documents]

    def _predict(self, document: LinkingDocument) -> Prediction:
        if self.spans is None:
            spans = tuple(one.span for one in document.mentions)
        else:
            spans = self.spans[document.id]
        among = [one.candidates for one in document.mentions] if self.among_candidates else None
        return Prediction(document.id, spans, tuple(self.baseline.link(document, spans, among)))


def _prediction(document: LinkingDocument, linked: LinkedText | None) -> Prediction:
    mentions = linked.mentions if linked else ()
    return Prediction(
        document.id,
        tuple((one.start, one.end) for one in mentions),
        tuple(_hits(one) for one in mentions),
    )


def _hits(mention: Mention) -> Hits:
    similarities = [name_similarity(mention.surface, hit.passage) for hit in mention.candidates]
    return tuple(
        # What is left is rounded: equal cosines stay equal.
        Hit(hit.passage.id, round(hit.score - _NAME_WEIGHT * similarity, 12), similarity)
        for hit, similarity in zip(mention.candidates, similarities, strict=True)
    )
