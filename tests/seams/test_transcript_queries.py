"""The text of a query: a line that the model wrote, without markup."""

import pytest

from onegen_model.events import RetrievalRequested
from onegen_model.transcript.renderer import Renderer
from tests.support.drivers import Library, Stage, of


@pytest.mark.parametrize(
    ("written", "query"),
    [
        ("Who wrote it?[RQ]Ann", "Who wrote it?"),
        ("<FINAL-ANSWER>Ann</FINAL-ANSWER> Who?[RQ]Bo", "Who?"),
        ("Who?\n<FINAL-ANSWER>Ann</FINAL-ANSWER>[RQ]Bo", "Who?"),
        ("Who?<FINAL-ANS[RQ]Bo", "Who?"),
        ("[RQ]Bo", "q?"),
    ],
)
def test_no_markup_is_searched_for(renderer: Renderer, written: str, query: str) -> None:
    library = Library()
    events = Stage(renderer).run(written, library)
    assert [asked.text for (asked,) in library.calls] == [query]
    assert [event.text for event in of(events, RetrievalRequested)] == [query]
