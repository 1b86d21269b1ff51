"""`onegen link`: the entities of texts, files and folders."""

import hashlib
import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onegen_model.cli.interrupts import INTERRUPTED, Interrupts
from onegen_model.cli.link_inputs import LinkInput, inputs_digest, read_inputs
from onegen_model.cli.link_writing import Writing, choose_format, counted, open_writing
from onegen_model.cli.reading_options import SkippedFiles
from onegen_model.cli.where import parse_where, require_known_names
from onegen_model.finetune.mining.resumable_file import PartialFile
from onegen_model.linking.formats import LinkedDocument
from onegen_model.linking.mentions import LinkedText
from onegen_model.linking.params import LinkingParams
from onegen_model.progress import Progress, show_progress
from onegen_model.retrieval.manifest import read_manifest

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel
    from onegen_model.model import OneGenModel
    from onegen_model.retrieval.index import PassageIndex

# Characters of short texts that are read side by side, and written together. A longer text is
# read alone.
_TOGETHER = 6000


def run_link(options: Namespace, load_model: "LoadModel") -> int:
    """Everything that can be wrong without a model is reported before it is loaded."""
    params, chosen = _params(options), choose_format(options)
    if options.out:
        PartialFile.require_place(Path(options.out), force=options.force)
    read_manifest(Path(options.entities))
    skipped = SkippedFiles(options.skip_bad)
    inputs = read_inputs(options, skipped)
    model = load_model(options.model, options.dtype)
    from onegen_model.indexing.entity_records import require_entities
    from onegen_model.retrieval.index import PassageIndex
    from onegen_model.transcript.linking_renderer import LinkingRenderer

    LinkingRenderer(model.renderer)  # raises for a checkpoint that does not link
    entities = PassageIndex.load(model, options.entities)
    require_entities(entities.passages, Path(options.entities))
    require_known_names(params.filter, entities.passages)
    settings = _settings(options, model, inputs, params)
    writing = open_writing(options, chosen, settings, named=len(inputs) > 1)
    linker = _Linker(model, entities, params)
    try:
        linker.link(inputs, writing)
    except KeyboardInterrupt:
        sys.stderr.write(f"onegen: stopped; {writing.stopped()}\n")
        return INTERRUPTED
    writing.finish()
    if options.out:
        _report(options.out, writing, as_json=options.json)
    return skipped.report()


def _params(options: Namespace) -> LinkingParams:
    return LinkingParams(
        num_candidates=options.candidates,
        nil_threshold=options.nil_threshold,
        name_weight=options.name_weight,
        mention_threshold=options.mention_threshold,
        max_mention_tokens=options.max_mention_tokens,
        filter=parse_where(options.where),
        window=options.window,
        overlap=options.overlap,
    )


def _settings(
    options: Namespace, model: "OneGenModel", inputs: Sequence[LinkInput], params: LinkingParams
) -> dict[str, Any]:
    """What must not change between a stopped run and the one that continues it."""
    shards = read_manifest(Path(options.entities)).shards  # with the digests of their files
    return {
        **asdict(params),
        "model": model.fingerprint,
        "dtype": options.dtype,
        "entities": hashlib.sha256(repr(shards).encode()).hexdigest()[:32],
        "texts": inputs_digest(inputs),
    }


class _Linker:
    """Links texts with one loaded model, and shows how far it is."""

    def __init__(
        self, model: "OneGenModel", entities: "PassageIndex", params: LinkingParams
    ) -> None:
        self._model = model
        self._entities = entities
        self._params = params

    def link(self, inputs: Sequence[LinkInput], writing: Writing) -> None:
        left = inputs[writing.done :]
        total = sum(len(one.text) for one in left)
        # On the screen, the result of a short text is its own progress.
        is_short = total <= _TOGETHER and sys.stdout.isatty()
        progress = False if is_short else None
        # Short texts that are being read when Ctrl-C comes are finished, and written.
        with (
            Interrupts() as interrupts,
            show_progress(total, "Linking", "character", progress) as bar,
        ):
            for some in _groups(left):
                interrupts.raise_requested()
                if len(some) == 1 and len(some[0].text) > _TOGETHER:
                    linked = [self._link_long(some[0].text, bar, interrupts)]
                else:
                    linked = self._link(some, bar)
                writing.add(
                    [
                        LinkedDocument(one.id, one.source, found)
                        for one, found in zip(some, linked, strict=True)
                    ]
                )

    def _link(self, inputs: Sequence[LinkInput], bar: Progress) -> list[LinkedText]:
        texts = [one.text for one in inputs]
        linked = self._model.link(texts, entities=self._entities, linking=self._params)
        bar.update(sum(map(len, texts)))
        return linked

    def _link_long(self, text: str, bar: Progress, interrupts: Interrupts) -> LinkedText:
        """As `link` does; the bar follows the mentions, and Ctrl-C gives the text up."""
        shown = 0
        stream = self._model.stream_link(text, entities=self._entities, linking=self._params)
        with stream:
            for mention in stream:
                interrupts.raise_requested()
                bar.update(mention.end - shown)
                shown = mention.end
            bar.update(len(text) - shown)
            return stream.linked


def _groups(inputs: Sequence[LinkInput]) -> Iterator[list[LinkInput]]:
    """Texts to read side by side, in order."""
    group: list[LinkInput] = []
    size = 0
    for one in inputs:
        if group and size + len(one.text) > _TOGETHER:
            yield group
            group, size = [], 0
        group.append(one)
        size += len(one.text)
    if group:
        yield group


def _report(out: str, writing: Writing, *, as_json: bool) -> None:
    counts = {"documents": writing.done, "mentions": 0, "linked": 0, **writing.counts}
    if as_json:
        line = json.dumps({"file": out, **counts}, ensure_ascii=False)
    else:
        line = (
            f"{out}: {counted(counts['documents'], 'document')}, "
            f"{counted(counts['mentions'], 'mention')}, {counts['linked']} with an entity"
        )
    sys.stdout.write(f"{line}\n")
