"""Scores of traces: answers, format, retrievals, costs."""

from collections.abc import Callable, Iterable, Sequence

from onegen_model.evaluation.ask.questions import GoldQuestion
from onegen_model.evaluation.ask.ranking import paragraph_of
from onegen_model.evaluation.ask.trace import Trace
from onegen_model.evaluation.score.answer_metrics import exact_match, f1, substring_match
from onegen_model.evaluation.score.cases import Case, Columns, Frame, Row
from onegen_model.evaluation.score.estimate import Estimate
from onegen_model.transcript.template import Template


def score_answers(cases: Sequence[Case], frame: Frame | None) -> Columns:
    """EM, F1 and substring match, each against the best of the gold answers."""
    metrics: dict[str, Callable[[str, str], float]] = {
        "EM": exact_match,
        "F1": f1,
        "substring": substring_match,
    }
    answers = [
        (answer_of(case.trace, frame), case.question.answers) for case in cases if case.trace
    ]
    if not answers:
        return {}
    return {
        name: Estimate.of(
            (max(float(metric(text, one)) for one in gold), 1) for text, gold in answers
        )
        for name, metric in metrics.items()
    }


def answer_of(trace: Trace, frame: Frame | None) -> str:
    """The text in the answer frame; without a frame, the text written last."""
    if frame is None:
        return trace.spans[-1].strip()
    return _template(frame).parse(trace.spans)[1]


def is_framed(trace: Trace, frame: Frame) -> bool:
    """Whether start and end of an answer frame were written."""
    template = _template(frame)
    return any(template.frame_state(span) == "closed" for span in trace.spans)


def _template(frame: Frame) -> Template:
    return Template(answer_start=frame[0], answer_end=frame[1])


def score_behaviour(row: Row) -> Columns:
    """Emission of the query token, well-formedness, and costs of a question."""
    traced = [(case.question, case.trace) for case in row.cases if case.trace]
    if not traced:
        return {}

    def share(value: Callable[[GoldQuestion, Trace], float]) -> Estimate:
        return Estimate.of((value(*pair), 1) for pair in traced)

    framed: Columns = {}
    if (frame := row.frame) is not None:
        framed = {
            "retrieves": share(lambda _, trace: bool(trace.requested)),
            "well-formed": share(lambda _, trace: is_framed(trace, frame)),
        }
    return {
        **framed,
        "finished": share(lambda _, trace: trace.finished.reason == "end"),
        "retrievals": share(lambda _, trace: len(trace.requested)),
        "repeated": Estimate.of(_repeated(trace) for _, trace in traced),
        **_same_first(row.cases),
        "gold inserted": Estimate.of(_gold_inserted(*pair) for pair in traced),
        "forwarded": share(lambda _, trace: trace.finished.usage.forwarded),
        "reused": share(lambda _, trace: trace.finished.usage.reused),
        "seconds": Estimate.of(_seconds(trace for _, trace in traced)),
        "peak MiB": Estimate.largest(trace.peak_memory for _, trace in traced),
    }


def _repeated(trace: Trace) -> tuple[int, int]:
    """Retrievals that repeat the query text of an earlier one of the question."""
    texts = [event.text.casefold() for event in trace.requested]
    return len(texts) - len(set(texts)), len(texts)


def _same_first(cases: Iterable[Case]) -> Columns:
    """Retrievals whose first paragraph was already first in an earlier one, for span queries.

    A ranking holds every paragraph; a request excludes those that it has read.
    """
    firsts = [
        [hop[0] for hop in case.ranked if hop]
        for case in cases
        if case.ranking and case.ranking.query == "span"
    ]
    groups = [(len(some) - len(set(some)), len(some)) for some in firsts]
    return {"same first": Estimate.of(groups)} if groups else {}


def _gold_inserted(question: GoldQuestion, trace: Trace) -> tuple[int, int]:
    found = {paragraph_of(hit.passage) for event in trace.inserted for hit in event.passages}
    return len(question.gold & found), len(question.gold)


def _seconds(traces: Iterable[Trace]) -> list[tuple[float, float]]:
    """Seconds by batch: questions of one batch share its time, so a batch is one group."""
    batches: dict[float, list[Trace]] = {}
    for trace in traces:
        batches.setdefault(trace.started, []).append(trace)
    return [
        (sum(one.seconds / one.batch for one in batch), len(batch)) for batch in batches.values()
    ]
