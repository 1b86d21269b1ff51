"""Links the mentions of documents, given ones and those that the model finds, and keeps the rest:
what each system found of each document, so that scoring needs neither model nor entities."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.harness import ShouldStop, never
from onegen_model.evaluation.ask.pool import digest
from onegen_model.evaluation.ask.run_folder import RunFolder, RunSettings
from onegen_model.evaluation.ask.sentence_encoder import SentenceEncoder
from onegen_model.evaluation.linking.baselines import (
    Baseline,
    ByBm25,
    ByName,
    BySentence,
    EntityList,
)
from onegen_model.evaluation.linking.documents import LinkingDocument, spaced_documents
from onegen_model.evaluation.linking.entities import (
    embedded,
    first_fragments,
    read_candidates,
    require_known,
)
from onegen_model.evaluation.linking.gold_entities import GoldEntities
from onegen_model.evaluation.linking.passes import OwnLinks, Pass, SpanLinks
from onegen_model.evaluation.linking.predictions import (
    CANDIDATES,
    ENTITIES,
    KEPT,
    OWN,
    PredictionLog,
    found_with,
)
from onegen_model.evaluation.linking.settings import TASK, LinkingEvaluationSettings
from onegen_model.events import Passage
from onegen_model.files import sha256_of
from onegen_model.linking.params import LinkingParams
from onegen_model.model import OneGenModel
from onegen_model.progress import show_progress
from onegen_model.retrieval.bm25 import Bm25
from onegen_model.retrieval.index import PassageIndex
from onegen_model.transcript.linking_renderer import LinkingRenderer


@dataclass(frozen=True, slots=True)
class LinkingEvaluation:
    """An evaluation with its model, ready to be carried out."""

    settings: LinkingEvaluationSettings
    documents: Sequence[LinkingDocument]
    model: OneGenModel

    def carry_out(self, should_stop: ShouldStop = never) -> RunFolder | None:
        """Link what the folder lacks; None where it was stopped before the end."""
        index = self._open(should_stop)
        if index is None:
            return None
        folder = self._folder(index)
        for one in self._own_passes(index):
            if not self._carry_out(one, folder.path, should_stop):
                return None
        entities, opened = EntityList(index.passages), dict[str, Baseline | None]()
        for name in self.settings.baselines:
            kind = "minilm" if name == "two-step" else name
            if kind not in opened:
                opened[kind] = self._baseline(kind, entities, should_stop)
            baseline = opened[kind]
            if baseline is None:
                return None
            for one in self._passes_of(name, baseline, folder.path):
                if not self._carry_out(one, folder.path, should_stop):
                    return None
        return folder

    def _open(self, should_stop: ShouldStop) -> PassageIndex | None:
        settings = self.settings
        if settings.entities is not None:
            index = PassageIndex.load(self.model, settings.entities)
            self._require_known(index.passages, settings.entities)
            return index
        assert settings.entity_file is not None  # the settings have seen to it
        entities = read_candidates(settings.entity_file, self.documents)
        self._require_known(entities, settings.entity_file)
        cut = first_fragments(self.model, entities)
        return embedded(self.model, cut, settings.out / "candidates", should_stop)

    def _require_known(self, entities: Sequence[Passage], place: Path) -> None:
        known = (one.id for one in entities)
        require_known(self.documents, known, place, detects=self.settings.detects)

    def _folder(self, index: PassageIndex) -> RunFolder:
        settings, is_whole = self.settings, self.settings.entities is not None
        # The candidates are those of the documents, which may become more.
        made_of = settings.entity_file and sha256_of(settings.entity_file)[:16]
        folder = RunFolder.create(
            settings.out,
            RunSettings(
                task=TASK,
                pipeline="one-pass",
                fingerprint=self.model.fingerprint,
                dtype=str(self.model.network.dtype).removeprefix("torch."),
                retriever="own",
                query="link",
                pool="corpus" if is_whole else "candidates",
                passages=made_of or digest(index.passages),
                params={"encoder": str(settings.encoder)} if settings.encoder else {},
                note={
                    "onegen": version("onegen"),
                    "entities": str(settings.entities or settings.entity_file),
                    **settings.note,
                },
            ),
        )
        GoldEntities.of(self.documents, index.passages, is_whole=is_whole).save(folder.path)
        return folder

    def _own_passes(self, index: PassageIndex) -> Iterator[Pass]:
        model = self.model
        yield Pass(OWN, CANDIDATES, OwnLinks(model, index, among_candidates=True))
        if self.settings.entities is not None:
            yield Pass(OWN, ENTITIES, OwnLinks(model, index))
        for threshold in self.settings.all_thresholds:
            params = LinkingParams(mention_threshold=threshold, num_candidates=KEPT)
            yield Pass(OWN, found_with(threshold), OwnLinks(model, index, params))

    def _baseline(
        self, name: str, entities: EntityList, should_stop: ShouldStop
    ) -> Baseline | None:
        """None where it was stopped while entities were embedded."""
        if name in ("name", "name+words"):
            return ByName(entities, counts_words=name == "name+words")
        if name == "bm25":
            return ByBm25(entities, Bm25(entities.entities))
        encoder = SentenceEncoder(str(self.model.network.device), self.settings.encoder)
        folder = self.settings.encoder_index or self.settings.out / f"{encoder.fingerprint[:8]}"
        index = embedded(encoder, entities.entities, folder, should_stop)
        return None if index is None else BySentence(encoder, index)

    def _passes_of(self, name: str, baseline: Baseline, folder: Path) -> Iterator[Pass]:
        is_whole = self.settings.entities is not None
        if name != "two-step":
            yield Pass(name, CANDIDATES, SpanLinks(baseline, among_candidates=True))
            if is_whole:
                yield Pass(name, ENTITIES, SpanLinks(baseline))
        # The usual pipeline: mentions are found by one model and linked by another.
        if is_whole and name != "minilm" and self.settings.detects:
            setting = found_with(self.settings.mention_threshold)
            found = PredictionLog(folder, OWN, setting).read(self.documents).by_document
            spans = {name: one.spans for name, one in found.items()}
            yield Pass(name, setting, SpanLinks(baseline, spans=spans))

    def _carry_out(self, one: Pass, folder: Path, should_stop: ShouldStop) -> bool:
        """Whether the pass is complete."""
        log = PredictionLog(folder, one.system, one.setting)
        known = log.read(self.documents).by_document
        missing = [document for document in self.documents if document.id not in known]
        size = self.settings.batch
        with show_progress(len(missing), f"{one.system}, {one.setting}", "text", None) as bar:
            for start in range(0, len(missing), size):
                if should_stop():
                    return False
                some = missing[start : start + size]
                began = time.perf_counter()
                found = one.links.predict(some)
                share = (time.perf_counter() - began) / len(some)
                log.add(some, (prediction.taking(share) for prediction in found))
                bar.update(len(some))
        return True


def prepare_linking_evaluation(
    settings: LinkingEvaluationSettings,
    documents: Sequence[LinkingDocument],
    load_model: Callable[[], OneGenModel],
) -> LinkingEvaluation:
    """Check what can be checked at once, then load the model; raises OneGenError."""
    for path in (settings.entities, settings.entity_file, settings.encoder):
        if path is not None and not path.exists():
            raise InvalidInputError(
                f"There is nothing at {path}; expected entities, or a sentence encoder; check the "
                "path, or make an index with `onegen entities`"
            )
    model = load_model()
    LinkingRenderer(model.renderer)  # raises for a checkpoint that does not link
    return LinkingEvaluation(settings, spaced_documents(documents, settings.limit), model)


def evaluate_linking(
    settings: LinkingEvaluationSettings,
    documents: Sequence[LinkingDocument],
    model: OneGenModel,
    should_stop: ShouldStop = never,
) -> RunFolder | None:
    """Link the mentions that the run does not hold yet; None where `should_stop` ended it.

    The same call continues from there. Raises OneGenError.
    """
    return prepare_linking_evaluation(settings, documents, lambda: model).carry_out(should_stop)
