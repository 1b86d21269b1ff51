"""What is inserted for hits: widened by neighbours, merged, within the limit, and whole."""

from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from onegen_model import Passage, PassagePlace, Query, RetrievalParams, ScoredPassage, place_of
from onegen_model.errors import RetrievalError
from onegen_model.generation.hit_renderer import HitRenderer
from onegen_model.inputs import Candidate, fit_candidates
from onegen_model.places import held_ids
from onegen_model.retrieval.neighbours import find_neighbours
from onegen_model.transcript.renderer import Renderer

ROOM = 512
NAMES = ("Alba", "Brig", "Cary", "Dorn", "Elva", "Fink", "Gera", "Hof")


def piece(chunk: int, text: str = "", document: str = "a.md", **values: Any) -> Passage:
    place = PassagePlace("a.md", document, chunk, len(NAMES), **values)
    text = text or f"{NAMES[chunk]} lies by the river."
    return Passage(place.passage_id, text, "Towns", place.to_metadata())


class Document:
    """A retriever of one document that knows its pieces; `queries` are those about neighbours."""

    def __init__(self, pieces: Sequence[Passage] = ()) -> None:
        self.pieces = {one.id: one for one in pieces or map(piece, range(len(NAMES)))}
        self.queries: list[Query] = []

    def neighbours(self, passage: Passage, window: int, query: Query) -> list[Passage]:
        self.queries.append(query)
        return find_neighbours(passage, window, self.pieces.get, query.filter)


def query(*exclude: str, **values: Any) -> Query:
    return Query(array("f", [1.0]), "Where?", 5, exclude=exclude, **values)


def hits(*passages: Passage | int) -> list[ScoredPassage]:
    found = [piece(one) if isinstance(one, int) else one for one in passages]
    return [ScoredPassage(one, 1.0 - at / 10) for at, one in enumerate(found)]


@pytest.fixture
def read(renderer: Renderer) -> Any:
    def read(
        found: Sequence[ScoredPassage],
        window: int = 1,
        passage_tokens: int | None = None,
        retriever: object = None,
        asked: Query | None = None,
    ) -> list[Candidate]:
        params = RetrievalParams(window=window, passage_tokens=passage_tokens)
        reader = HitRenderer(renderer, params, ROOM)
        return reader.candidates(found, asked or query(), retriever or Document())

    return read


def pieces_of(candidate: Candidate) -> list[str]:
    return [one.rpartition("#")[2] for one in held_ids([candidate.scored.passage])]


def ranges(candidates: Sequence[Candidate]) -> list[str]:
    """The pieces of each candidate, in order of the document, for example "2-4"."""
    found = []
    for one in candidates:
        place = place_of(one.scored.passage)
        chunks = sorted(map(int, pieces_of(one)))
        assert place is not None
        assert chunks == list(range(chunks[0], chunks[-1] + 1))
        found.append(f"{chunks[0]}-{chunks[-1]}")
    return found


def test_a_hit_is_one_passage_with_its_neighbours(read: Any, renderer: Renderer) -> None:
    (candidate,) = read(hits(3))
    passage = candidate.scored.passage
    assert passage.id == "a.md#3"
    assert candidate.scored.score == 1.0
    assert passage.title == "Towns"
    assert passage.text == "\n".join(f"{NAMES[n]} lies by the river." for n in (2, 3, 4))
    place = place_of(passage)
    assert place is not None
    assert place.pieces == ("a.md#2", "a.md#3", "a.md#4")
    assert candidate.ids == renderer.frame_ids(passage)


def test_a_document_has_no_neighbours_beyond_its_ends(read: Any) -> None:
    assert ranges(read(hits(0), window=2)) == ["0-2"]
    assert ranges(read(hits(7), window=2)) == ["5-7"]


def test_without_a_window_nothing_is_asked_for(read: Any) -> None:
    document = Document()
    (candidate,) = read(hits(3), window=0, retriever=document)
    assert candidate.scored.passage == piece(3)
    assert not document.queries


@pytest.mark.parametrize(
    ("found", "window", "expected"),
    [
        ((3, 5), 1, ["2-6"]),  # both have 4
        ((5, 3), 1, ["2-6"]),
        ((3, 4), 1, ["2-5"]),  # the second hit is a neighbour of the first
        ((3, 6), 1, ["2-4", "5-7"]),  # adjoining, but nothing would be read twice
        ((6, 1), 1, ["5-7", "0-2"]),
        ((1, 6, 4), 1, ["0-2", "3-7"]),
        ((1, 5, 3), 1, ["0-6"]),  # the last one joins the others
    ],
)
def test_hits_that_overlap_are_one_passage(
    read: Any, found: tuple[int, ...], window: int, expected: list[str]
) -> None:
    candidates = read(hits(*found), window, passage_tokens=400)
    assert ranges(candidates) == expected
    assert sum(one.num_hits for one in candidates) == len(found)
    assert candidates[0].scored.passage.id == f"a.md#{found[0]}"
    assert candidates[0].scored.score == 1.0


def test_the_better_hit_gives_position_id_and_score_whoever_joins(read: Any) -> None:
    other = replace(piece(0, document="b.md"), id="b.md#0")
    candidates = read([*hits(other), *hits(1, 5, 3)], passage_tokens=400)
    assert [one.scored.passage.id for one in candidates] == ["b.md#0", "a.md#1"]
    assert ranges(candidates)[1] == "0-6"


def test_what_the_context_holds_is_not_read_again(read: Any) -> None:
    assert ranges(read(hits(3), window=2, asked=query("a.md#2"))) == ["3-5"]
    assert ranges(read(hits(3), window=2, asked=query("a.md#5", "a.md#2"))) == ["3-4"]


def test_neighbours_pass_the_filter_of_the_query(read: Any) -> None:
    secret = piece(4)
    secret = replace(secret, metadata={**secret.metadata, "secret": True})
    open_ones = [
        replace(one, metadata={**one.metadata, "secret": False}) for one in map(piece, (2, 3, 5))
    ]
    document = Document([*open_ones, secret])
    asked = query(filter={"secret": False})
    assert ranges(read(hits(open_ones[1]), window=2, retriever=document, asked=asked)) == ["2-3"]


def test_the_limit_costs_neighbours_and_never_the_hit(read: Any, renderer: Renderer) -> None:
    for longest in range(10, 120, 7):
        (candidate,) = read(hits(3), window=3, passage_tokens=longest)
        passage = candidate.scored.passage
        tokens = len(candidate.ids) - 2
        assert tokens <= longest or len(pieces_of(candidate)) == 1
        assert len(pieces_of(candidate)) > 1 or passage.text.startswith("Dorn")
        if longest >= 25:
            assert piece(3).text in passage.text
    (nearest,) = read(hits(3), window=3, passage_tokens=45)
    assert "3" in pieces_of(nearest)
    assert "4" in pieces_of(nearest), "what follows comes first"


def test_hits_too_long_to_join_share_their_neighbours(read: Any, renderer: Renderer) -> None:
    limit = len(read(hits(3))[0].ids)
    first, second = read(hits(3, 5), passage_tokens=limit)
    assert ranges([first, second]) == ["2-4", "5-6"]


def test_a_wide_window_stays_within_the_room_of_the_context(read: Any, renderer: Renderer) -> None:
    count = 1000
    place = PassagePlace("a.md", "a.md", 0, count)
    pieces = [
        Passage(place.id_of(at), f"{at}", "", replace(place, chunk=at).to_metadata())
        for at in range(count)
    ]
    (candidate,) = read(hits(pieces[500]), window=count, retriever=Document(pieces))
    assert ROOM - 8 < len(candidate.ids) <= ROOM + 2
    least = fit_candidates([candidate], 10)
    assert [one.scored.passage.text for one in least] == ["499\n500"]


def test_narrower_candidates_lead_to_the_hits_alone(read: Any) -> None:
    (candidate,) = read(hits(3, 5), passage_tokens=400)
    chain = []
    while len(candidate.narrower) == 1:
        (candidate,) = candidate.narrower
        chain.append(ranges([candidate])[0])
        assert candidate.num_hits == 2
    assert chain == ["2-5", "3-5"]
    alone = [one.scored for one in candidate.narrower]
    assert [one.passage.text for one in alone] == [piece(3).text, piece(5).text]
    assert [one.score for one in alone] == [1.0, 0.9]


def test_the_place_covers_all_pieces(read: Any) -> None:
    pieces = [
        piece(n, pages=(n, n + 1), lines=(10 * n, 10 * n + 8), span=(100 * n, 100 * n + 90))
        for n in range(5)
    ]
    (candidate,) = read(hits(pieces[2]), retriever=Document(pieces))
    place = place_of(candidate.scored.passage)
    assert place is not None
    assert (place.pages, place.lines, place.span) == ((1, 4), (10, 38), (100, 390))
    assert place.chunk == 2
    pieces[1] = piece(1)  # of unknown place
    (candidate,) = read(hits(pieces[2]), retriever=Document(pieces))
    place = place_of(candidate.scored.passage)
    assert place is not None
    assert place.span is None


def joined(read: Any, *texts: str, titles: Sequence[str] = (), **values: Any) -> str:
    at, pieces = 0, []
    for n, text in enumerate(texts):
        span = {"span": (at, at + len(text))} if values.get("spans") else {}
        one = piece(n, text, **span)
        pieces.append(replace(one, title=titles[n]) if titles else one)
        at += len(text) + values.get("gap", 1)
    (candidate,) = read(hits(pieces[1]), retriever=Document(pieces), passage_tokens=400)
    return str(candidate.scored.passage.text)


def test_pieces_are_joined_as_they_stood(read: Any) -> None:
    three = ("One is.", "Two is.", "Three is.")
    assert joined(read, *three, spans=True) == "One is. Two is. Three is."
    assert joined(read, *three, spans=True, gap=0) == "One is.Two is.Three is."
    assert joined(read, *three, spans=True, gap=2) == "One is.\n\nTwo is.\n\nThree is."
    assert joined(read, *three) == "One is.\nTwo is.\nThree is."
    overlapping = ("Alba. Brig.", "Brig. Cary.", "Cary. Dorn.")
    assert joined(read, *overlapping, spans=True, gap=-5) == "Alba. Brig. Cary. Dorn."


def test_titles_and_table_heads_are_not_repeated(read: Any) -> None:
    head = "| town | mill |\n|------|------|\n"
    rows = ("| Alba | 3 |", "| Brig | 4 |", "| Cary | 5 |")
    assert joined(read, *(head + row for row in rows)) == head + "\n".join(rows)
    assert joined(read, "Towns:\n\n" + head + rows[0], head + rows[1], head + rows[2]) == (
        "Towns:\n\n" + head + "\n".join(rows)
    )
    assert joined(read, "Alba\nIt has a mill.", "Alba\nIt is old.", "Alba\nIt is small.") == (
        "Alba\nIt has a mill.\nIt is old.\nIt is small."
    )
    # The text of the document itself is left as it is.
    twice = (head + rows[0], head + rows[0], "End.")
    assert joined(read, *twice, spans=True).count("| town |") == 2


def test_another_title_stands_above_its_piece(read: Any) -> None:
    titles = ("Alba", "Alba", "Brig")
    text = joined(read, "It has a mill.", "It is old.", "It is new.", titles=titles)
    assert text == "It has a mill.\nIt is old.\nBrig\nIt is new."
    text = joined(read, "It has a mill.", "It is old.", "# Brig\nIt is new.", titles=titles)
    assert text == "It has a mill.\nIt is old.\n# Brig\nIt is new."


def test_a_passage_without_a_place_keeps_the_ids_of_its_pieces(read: Any) -> None:
    class Nodes:
        def neighbours(self, passage: Passage, window: int, query: Query) -> list[Passage]:
            return [Passage("x", "Before."), passage, Passage("z", "After.")]

    (candidate,) = read(hits(Passage("y", "Here.", metadata={"own": 1})), retriever=Nodes())
    passage = candidate.scored.passage
    assert passage.text == "Before.\nHere.\nAfter."
    assert place_of(passage) is None
    assert held_ids([passage]) == ("y", "x", "z")
    assert passage.metadata["own"] == 1


@pytest.mark.parametrize("answer", [None, ["text"], RuntimeError("gone")])
def test_a_retriever_whose_neighbours_fail_is_named(read: Any, answer: Any) -> None:
    class Broken:
        def neighbours(self, passage: Passage, window: int, query: Query) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

    with pytest.raises(RetrievalError, match=r"^Broken .*; expected"):
        read(hits(3), retriever=Broken())
