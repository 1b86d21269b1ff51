"""Estimates what a sync costs, from a few of its files and the time of a few passages."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from onegen_model.documents.kinds import suffix_of
from onegen_model.events import Passage
from onegen_model.indexing.reading import DocumentModel, PassageReader
from onegen_model.indexing.scan import KindCount, Scan
from onegen_model.indexing.selection import Selection
from onegen_model.indexing.survey import Survey
from onegen_model.retrieval.corpus import passage_line

_SAMPLED_FILES = 3  # of each kind
_SAMPLED_BYTES = 1_000_000  # the largest file that is sampled
_SAMPLING_SECONDS = 5.0
_MEASURED = 16  # passages
# Fewer passages are embedded in little more time than a measurement takes.
_WORTH_MEASURING = 128
_FLOAT = 4  # bytes


def estimate(
    model: DocumentModel,
    reader: PassageReader,
    selection: Selection,
    survey: Survey,
    folder: Path,
) -> Scan:
    """Reads a few of the changed files, and embeds a few passages if there are many."""
    sizes = {source: _size(file) for source, file in survey.changed.items()}
    sample = _sample(reader, survey.changed, sizes)
    passages = _count(survey.changed, sizes, sample)
    some = [passage for found in sample.values() for passage in found]
    line = sum(len(passage_line(one).encode()) for one in some) / max(len(some), 1)
    held = sum(_size(file) for file in folder.iterdir()) if folder.is_dir() else 0
    seconds = _seconds_each(model, some) * passages if passages >= _WORTH_MEASURING else None
    return Scan(
        _kinds(selection.files),
        len(survey.unchanged),
        len(survey.gone - survey.moved),
        passages,
        held + round(passages * (_FLOAT * model.dimension + line)),
        seconds,
    )


def _kinds(files: Iterable[Path]) -> dict[str, KindCount]:
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for file in files:
        count = counts[suffix_of(file).removeprefix(".")]
        count[0] += 1
        count[1] += _size(file)
    return {kind: KindCount(*count) for kind, count in sorted(counts.items())}


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _sample(
    reader: PassageReader, files: Mapping[str, Path], sizes: Mapping[str, int]
) -> dict[str, list[Passage]]:
    """The passages of some files of each kind, those of middling size."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for source in sorted(files, key=lambda source: (sizes[source], source)):
        if 0 < sizes[source] <= _SAMPLED_BYTES:
            kinds[suffix_of(files[source])].append(source)
    sample: dict[str, list[Passage]] = {}
    end = time.monotonic() + _SAMPLING_SECONDS
    for sources in kinds.values():
        first = max(0, (len(sources) - _SAMPLED_FILES) // 2)
        for source in sources[first : first + _SAMPLED_FILES]:
            if time.monotonic() < end:
                sample[source] = reader.sample(files[source], source)
    return sample


def _count(
    files: Mapping[str, Path], sizes: Mapping[str, int], sample: Mapping[str, Sequence[Passage]]
) -> int:
    """The passages of all files: per byte as many as in those of the kind that were read."""
    read: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for source, passages in sample.items():
        for kind in (suffix_of(files[source]), ""):
            read[kind][0] += len(passages)
            read[kind][1] += sizes[source]
    total = 0.0
    for source, file in files.items():
        if source in sample:
            total += len(sample[source])
        else:
            count, size = read[suffix_of(file)] if suffix_of(file) in read else read[""]
            total += sizes[source] * count / max(size, 1)
    return round(total)


def _seconds_each(model: DocumentModel, passages: Sequence[Passage]) -> float:
    step = max(1, len(passages) // _MEASURED)
    some = list(passages[::step])[:_MEASURED]
    if not some:
        return 0.0
    model.embed_passages(some[:2])  # The first call prepares what later ones find ready.
    begun = time.perf_counter()
    model.embed_passages(some)
    return (time.perf_counter() - begun) / len(some)
