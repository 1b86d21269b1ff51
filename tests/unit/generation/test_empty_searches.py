"""Searches that find nothing: what is written, how often is searched, and what the answer says."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from onegen_model.errors import InvalidInputError
from onegen_model.events import Event, PassagesInserted, Query, RetrievalRequested, ScoredPassage
from onegen_model.generation.handle import RequestHandle
from onegen_model.inputs import Prompt
from onegen_model.params import NOT_FOUND, RetrievalParams, SamplingParams
from onegen_model.retrieval.protocol import FailedSearch
from onegen_model.transcript.answer import Answer, Span
from onegen_model.transcript.renderer import Renderer
from tests.support.drivers import Answering, Stage, hit, of, reason, until_failure

SCRIPT = "Who wrote it?[RQ]Ann\nWhere is she from?[RQ]Köln\n<FINAL-ANSWER>Köln</FINAL-ANSWER>"


@pytest.fixture
def stage(renderer: Renderer) -> Stage:
    return Stage(renderer)


class Store:
    """Finds the hits of a query's text, without those that it excludes."""

    def __init__(self, **found: list[ScoredPassage]) -> None:
        self.found = {key.replace("_", " "): hits for key, hits in found.items()}
        self.asked: list[Query] = []

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        self.asked += queries
        return [
            [
                one
                for key, hits in self.found.items()
                for one in hits
                if key in query.text and one.passage.id not in query.exclude
            ]
            for query in queries
        ]


def run(
    stage: Stage, retriever: Any, text: str = SCRIPT, sampling: Any = None, **retrieval: Any
) -> tuple[list[Event], Answer]:
    chosen = RetrievalParams(**retrieval)
    options = {"retrieval": chosen, "sampling": sampling or SamplingParams()}
    handle = stage.submit("q?", text, retriever, **options)
    return list(stage.driver.drive(handle)), handle.answer()


@pytest.mark.parametrize("mode", ["auto", "always"])
def test_nothing_found_is_said_at_once(stage: Stage, mode: str) -> None:
    store = Store()
    events, answer = run(stage, store, mode=mode)
    assert answer.text == NOT_FOUND
    assert len(store.asked) == answer.usage.retrievals == answer.usage.empty_retrievals == 1
    assert (reason(events), answer.found) == ("end", False)
    query = "q?" if mode == "always" else "Who wrote it?"
    assert answer.reason == f'Nothing was found for "{query}".'
    (inserted,) = of(events, PassagesInserted)
    assert inserted.reason == answer.reason


def test_the_text_is_the_callers(stage: Stage) -> None:
    _, answer = run(stage, Store(), not_found="Dazu steht hier nichts. [RQ]<|im_end|>")
    assert answer.text == "Dazu steht hier nichts. [RQ]<|im_end|>"
    assert answer.finish_reason == "end"
    written = {one for span in answer.written for one in span}
    assert not written & stage.renderer.control_ids


def test_without_a_text_the_model_writes_on_and_searches_no_more(stage: Stage) -> None:
    store = Store()
    _, answer = run(stage, store, not_found=None)
    assert len(store.asked) == answer.usage.retrievals == 1
    assert not answer.found
    assert answer.text != NOT_FOUND


def test_hits_below_the_least_score_are_not_inserted(stage: Stage) -> None:
    store = Store(wrote=[hit("a", 0.7), hit("b", 0.3)], she=[hit("c", 0.49)])
    events, answer = run(stage, store, min_score=0.5)
    names = [[one.passage.id for one in event.passages] for event in of(events, PassagesInserted)]
    assert names == [["a"], []]
    assert answer.text == NOT_FOUND, "a link of the chain is missing"
    assert answer.reason == (
        'Nothing was found for "Where is she from?" with a score of at least 0.5 '
        "(the best score was 0.490)."
    )
    assert [one.text for one in store.asked] == ["Who wrote it?", *["Where is she from?"] * 2]
    assert (store.asked[2].exclude, store.asked[2].top_k) == ((), 2)


def test_a_filter_that_leaves_nothing_is_named(stage: Stage) -> None:
    _, answer = run(stage, Store(), filter={"year": 2020})
    assert (
        answer.reason == "Nothing was found for \"Who wrote it?\" under the filter {'year': 2020}."
    )


def test_hits_that_the_context_holds_are_no_failure(stage: Stage) -> None:
    both = [hit("a")]
    store = Store(wrote=both, she=both)
    _, answer = run(stage, store)
    assert (answer.text, answer.found, answer.usage.empty_retrievals) == ("Köln", True, 0)
    assert [one.exclude for one in store.asked] == [(), ("a",), ()]


def test_a_retriever_that_excludes_nothing_is_asked_once(stage: Stage) -> None:
    retriever = Answering(lambda queries: [[hit("a")] for _ in queries])
    _, answer = run(stage, retriever)
    assert (answer.text, answer.found, len(retriever.calls)) == ("Köln", True, 2)


def test_the_same_search_without_anything_new_ends_the_searching(stage: Stage) -> None:
    store = Store(it=[hit("a")])
    script = "What is it?[RQ]" * 6 + "x\n<FINAL-ANSWER>x</FINAL-ANSWER>"
    events, answer = run(stage, store, script)
    assert len(of(events, RetrievalRequested)) == 2
    assert answer.found
    assert answer.text != NOT_FOUND


def test_another_search_goes_on_where_nothing_was_new(stage: Stage) -> None:
    store = Store(it=[hit("a")], she=[hit("b")])
    script = "What is it?[RQ]Is it?[RQ]she?[RQ]x\n<FINAL-ANSWER>x</FINAL-ANSWER>"
    _, answer = run(stage, store, script)
    assert [len(one.passages) for one in answer.retrievals] == [1, 0, 1]
    assert (answer.text, answer.found) == ("x", True)


def test_a_failed_search_is_reported_and_no_invention_of_a_text(stage: Stage) -> None:
    retriever = Answering(lambda queries: [FailedSearch("the store is down") for _ in queries])
    _, answer = run(stage, retriever)
    assert (answer.text, len(retriever.calls)) == ("Köln", 2)
    assert answer.reason == 'The search for "Who wrote it?" failed: the store is down'
    assert answer.usage.empty_retrievals == 2


def test_an_answer_that_has_begun_is_not_taken_back(stage: Stage) -> None:
    script = "a\n<FINAL-ANSWER>It is [RQ]Köln</FINAL-ANSWER>"
    _, answer = run(stage, Store(), script)
    assert (answer.text.split()[:2], answer.found) == (["It", "is"], False)
    assert NOT_FOUND not in answer.text
    prompt = stage.renderer.question_ids("q?")
    stage.lines[tuple(prompt)] = stage.ids("[RQ]b")
    opening = [Span("<FINAL-ANSWER>It is")]
    handle = stage.driver.submit(Prompt(prompt, "q?"), Store(), opening=opening)
    assert NOT_FOUND not in "".join(getattr(one, "text", "") for one in stage.driver.drive(handle))


def test_a_text_that_does_not_fit_is_cut(stage: Stage) -> None:
    events, answer = run(stage, Store(), sampling=SamplingParams(max_new_tokens=30))
    assert reason(events) == "length"
    assert answer.usage.written == 30
    assert not answer.found


@pytest.mark.parametrize("text", ["a <FINAL-ANSWER>", "b</FINAL-ANSWER>c"])
def test_a_text_with_markup_is_refused_before_any_work(stage: Stage, text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"holds '<.*FINAL-ANSWER>'; expected .*; remove"):
        run(stage, Store(), not_found=text)


def test_only_the_request_that_fails_the_second_time_fails(stage: Stage) -> None:
    def answer(queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        if any(query.question == "q0" and query.hop and not query.exclude for query in queries):
            raise OSError("down")
        return [[hit("a")] if not (query.hop and query.exclude) else [] for query in queries]

    handles: list[RequestHandle] = [
        stage.submit(f"q{n}", SCRIPT, retriever)
        for retriever in [Answering(answer)]
        for n in range(2)
    ]
    _, error = until_failure(stage.driver, *handles)
    assert "down" in str(error)
    assert [handle.error is None for handle in handles] == [False, True]
    assert handles[1].answer().text == "Köln"


@pytest.mark.parametrize("least", [0.5, -1.0])
def test_scores_that_are_no_numbers_are_below_any(stage: Stage, least: float) -> None:
    make: Callable[[], ScoredPassage] = lambda: hit("a", float("nan"))  # noqa: E731
    _, answer = run(stage, Store(wrote=[make()]), min_score=least)
    assert answer.text == NOT_FOUND
