"""States of an index: what an earlier one sees while later ones are made."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from onegen_model.events import Passage
from onegen_model.retrieval.index import PassageIndex
from onegen_model.retrieval.rows import Rows
from tests.support.fake_embedder import FakeEmbedder, unit
from tests.support.indexes import passages


def of(count: int) -> Rows:
    rows = PassageIndex.build(FakeEmbedder(), passages(count))
    found = Rows.empty(8)
    for some, vectors in rows.batches():
        found = found.with_added(some, range(len(some)), vectors)
    return found


def test_a_passage_is_found_in_an_earlier_state_while_it_is_replaced() -> None:
    earlier = of(10)
    later = earlier.without({3}).with_added([Passage("3", "new")], [0], unit("new")[None])
    assert (earlier.find("3"), later.find("3")) == (3, 10)
    assert earlier.without({3}).find("3") is None


def test_passages_move_to_the_end_with_all_their_vectors() -> None:
    rows = of(6).without({2})
    long = [Passage("long", "of two fragments"), Passage("2", "again")]
    rows = rows.with_added(long, [0, 0, 1], np.stack([unit("a"), unit("b"), unit("c")]))
    moved = rows.with_last(["long", "0", "unknown", "3"])
    assert [one.id for one in moved.passages] == ["1", "4", "5", "2", "long", "0", "3"]
    assert moved.fragments() == [1, 1, 1, 1, 2, 1, 1]
    for name in ("1", "2", "long", "3"):
        theirs = [
            state.gather([at])[0] for state in (rows, moved) if (at := state.find(name)) is not None
        ]
        assert (theirs[0] == theirs[1]).all()
    assert [one.id for one in rows.passages] == ["0", "1", "3", "4", "5", "long", "2"]


class Interrupting(Sequence[Passage]):
    """Passages that can be iterated over once."""

    def __init__(self, some: list[Passage]) -> None:
        self.some, self.times = some, 0

    def __len__(self) -> int:
        return len(self.some)

    def __getitem__(self, index: int) -> Passage:  # type: ignore[override]
        return self.some[index]

    def __iter__(self) -> Iterator[Passage]:
        self.times += 1
        yield self.some[0]
        if self.times == 2:
            raise KeyboardInterrupt
        yield from self.some[1:]


def test_an_interrupted_replacement_does_not_lose_the_old_passage() -> None:
    state = of(10)
    new = [Passage("3", "new"), Passage("4", "new")]
    vectors = of(2).vectors
    with pytest.raises(KeyboardInterrupt):
        state.without({3, 4}).with_added(Interrupting(new), [0, 1], vectors)
    assert (state.find("3"), state.find("4")) == (3, 4)
    after = state.with_added([Passage("5 more", "text")], [0], vectors[:1])
    assert (after.find("3"), after.find("5 more")) == (3, 10)
