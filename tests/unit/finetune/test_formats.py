"""Training files, published and of pairs: their examples and their errors."""

from pathlib import Path
from typing import Any

import pytest

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.finetune.data.collator import Collator, CollatorSettings
from onegen_model.finetune.data.datasets import Data, open_data
from onegen_model.finetune.data.examples import RetrievalTarget, TrainingSegment
from onegen_model.transcript.renderer import Renderer
from tests.support.training_files import write

MULTI_HOP = (
    "You are good at multi-step reasoning in QA. For complex questions, break down the process. "
    "Generate and answer sub-questions step-by-step, using retrieved documents at each stage. "
    "Output the final answer wrapped by <FINAL-ANSWER></FINAL-ANSWER>. Here is a question: "
)
DOCUMENT = (
    "Represent the following document fragment and output it after the "
    "'[Document Fragment Representation]' token. \nHere are document fragment:\n"
)
RQ, RD = "[Question Representation]", "[Document Fragment Representation]"


def document(uid: str | int, *fragments: str, token: str = RD) -> dict[str, Any]:
    messages = []
    for fragment in fragments:
        messages += [
            {"role": "user", "content": fragment},
            {"role": "assistant", "content": token},
        ]
    return {"uid": uid, "messages": messages}


def conversation(asked: str, said: str, positive: Any, negative: Any) -> dict[str, Any]:
    reply = {"role": "assistant", "content": said, "positive": positive, "negative": negative}
    return {"messages": [{"role": "user", "content": asked}, reply]}


def published(tmp_path: Path, documents: list[Any], *conversations: Any) -> Data:
    db = write(tmp_path / "db.jsonl", *documents)
    return open_data("published", write(tmp_path / "train.jsonl", *conversations), db)


def test_published_multi_hop(tmp_path: Path, renderer: Renderer) -> None:
    data = published(
        tmp_path,
        [
            document(12, f"{DOCUMENT}wiki title: X\ncontent: s0.", " s1."),
            document(7, f"{DOCUMENT}wiki title: Y\ncontent: t0."),
        ],
        conversation(
            MULTI_HOP + "Who made X?",
            f" First, who?{RQ}<paragraph>wiki title: X\ncontent: s0. s1.</paragraph> Ann."
            f" Then?{RQ}<paragraph>wiki title: Y\ncontent: t0.</paragraph>"
            "<paragraph>free text</paragraph> <FINAL-ANSWER>Bea</FINAL-ANSWER></s>",
            [["12-0", "12-1"], None],
            [["7-0", None], []],
        ),
    )
    (example,) = data.examples
    assert (example.id, example.question) == ("1", "Who made X?")
    first, second, last = example.segments
    assert (first.text, second.text) == (" First, who?", " Ann. Then?")
    assert last == TrainingSegment(" <FINAL-ANSWER>Bea</FINAL-ANSWER>")
    assert first.target is not None
    assert second.target is not None
    assert (first.target.positives, first.target.negatives) == (("12", "12-1"), ("7",))
    assert second.target.positives == (), "null trains the language model alone"
    shown = [(p.title, p.text) for p in (*first.target.inserted, *second.target.inserted)]
    assert shown == [("X", "s0. s1."), ("Y", "t0."), ("", "free text")]
    # Fragment k is read with all fragments before it.
    assert data.passages["12"] == data.passages["12-0"] == Passage("12", "s0.", "X")
    assert data.passages["12-1"] == Passage("12-1", "s0. s1.", "X")
    assert list(data.passages) == ["12", "12-1", "7"]
    batch = Collator(renderer, data.passages)([example])
    assert batch["targets"].tolist()[1] == -100
    assert len(batch["passage_keys"]) == 2


def test_published_self_rag(tmp_path: Path) -> None:
    data = published(
        tmp_path,
        [document("4411", f"{DOCUMENT}Alba\nAlba is a town.")],
        conversation(
            "### Instruction:\nWhere is Alba?\n\n### Response:\n",
            f"[Retrieval]{RQ}<paragraph>Alba\nAlba is a town.</paragraph>[Relevant]By the sea</s>",
            ["4411"],
            [[]],
        ),
    )
    (example,) = data.examples
    assert example.question == "Where is Alba?"
    assert [s.text for s in example.segments] == ["[Retrieval]", "[Relevant]By the sea"]
    (target,) = example.targets
    (inserted,) = target.inserted
    assert isinstance(inserted, Passage)
    assert inserted.text == data.passages["4411"].text == "Alba\nAlba is a town."


def test_a_uid_may_hold_a_dash(tmp_path: Path) -> None:
    data = published(
        tmp_path,
        [document("a-1", "one", " two"), document("b", "three")],
        conversation("q?", f"{RQ} x", ["a-1-1"], [["a-1"]]),
    )
    (target,) = data.examples[0].targets
    assert (target.positives, target.negatives) == (("a-1-1",), ("a-1",))
    assert data.passages["a-1"].text == "one"
    assert "b-0" in data.passages
    assert "b-1" not in data.passages, "that document has one fragment"


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (conversation("q?", f"a{RQ}b", ["1", "1"], [[]]), "messages[1].positive: expected one"),
        (conversation("q?", f"a{RQ}b", ["1"], []), "messages[1].negative: expected one"),
        (conversation("q?", f"a{RQ}b", ["1-3"], [[]]), "messages[1].positive[0]: no '1-3'"),
        (conversation("q?", "a <paragraph>x</paragraph>", [], []), "does not follow a query token"),
        (conversation("q?", f"{RQ}<paragraph>x", ["1"], [[]]), "does not follow a query token"),
        ({"messages": [{"role": "assistant", "content": ""}] * 2}, "messages[0].role: expected u"),
        ({"message": []}, "messages: expected one message of the user and one of the assistant"),
    ],
)
def test_what_a_published_file_cannot_mean_is_named(
    tmp_path: Path, record: dict[str, Any], problem: str
) -> None:
    good = conversation("q?", f"{RQ} x", ["1"], [[]])
    data = published(tmp_path, [document("1", "text")], good, record)
    with pytest.raises(InvalidInputError) as caught:
        data.examples.require_sound()
    assert "train.jsonl:2: " in str(caught.value)
    assert problem in str(caught.value)


def test_a_document_with_other_tokens_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"db.jsonl:1: messages\[1\].content: expected one"):
        published(tmp_path, [document("1", "text", token="yes")])


PAIRS = (
    {"query": "where is alba?", "positive": "Alba is a town."},
    {"anchor": "where is brig?", "positive": ["B1", {"title": "B", "text": "2"}], "negative": "C"},
    {"query": "scored", "passage": "good", "score": 0.9},
    {"query": "where is cary?", "positive": "C", "negative": ["D", "E"], "id": "mine"},
    {"query": "scored", "passage": {"title": "T", "text": "bad"}, "score": 0.1},
    {"query": "hopeless", "passage": "bad", "score": 0},
)


def test_pairs_triplets_and_scored_pairs(
    tmp_path: Path, renderer: Renderer, caplog: pytest.LogCaptureFixture
) -> None:
    data = open_data("pairs", write(tmp_path / "pairs.jsonl", *PAIRS), None)
    examples = list(data.examples.require_sound())
    assert "1 of 6 lines are left out" in caplog.text
    assert [e.question for e in examples] == [
        "where is alba?", "where is brig?", "where is cary?", "scored",
    ]  # fmt: skip
    assert [e.id for e in examples] == ["1", "2", "mine", "3"]

    def texts(target: RetrievalTarget) -> list[list[str]]:
        refs = (target.positives, target.negatives)
        return [[p.text for p in side if isinstance(p, Passage)] for side in refs]

    assert [texts(e.targets[0]) for e in examples] == [
        [["Alba is a town."], []],
        [["B1", "2"], ["C"]],
        [["C"], ["D", "E"]],
        [["good"], ["bad"]],
    ]
    collator = Collator(renderer, data.passages, CollatorSettings(num_negatives=2))
    batch = collator(examples)
    assert [len(chunk["labels"]) for chunk in batch["transcripts"]] == [0]
    ids = batch["transcripts"][0]["input_ids"][0].tolist()
    mask = batch["transcripts"][0]["attention_mask"][0].sum()
    shortest = min(examples, key=lambda e: len(renderer.query_ids(e.question)))
    assert ids[:mask] == renderer.query_ids(shortest.question), "hop 0 of retrieval always"
    # "C" is one query's negative and another's positive: embedded once, and never both.
    assert len(set(batch["passage_keys"].tolist())) == len(batch["passage_keys"])


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"query": "q", "passage": "p", "score": 2}, "score: expected a number between 0 and 1"),
        ({"query": "q"}, "positive: expected a passage"),
        ({"query": "", "positive": "p"}, "query: expected some text"),
        ({"query": "q", "positive": ["p", 3]}, r"positive\[1\]: expected some text"),
        ({"query": "q", "positive": {"text": ""}}, r"positive\[0\].text: expected some text"),
        ({"query": "q", "positve": "p"}, "positve: unknown"),
    ],
)
def test_a_bad_pair_is_named(tmp_path: Path, record: dict[str, Any], problem: str) -> None:
    data = open_data("pairs", write(tmp_path / "p.jsonl", PAIRS[0], record), None)
    with pytest.raises(InvalidInputError, match=rf"p.jsonl:2: {problem}"):
        data.examples.require_sound()
