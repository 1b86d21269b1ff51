"""Texts with linked mentions: what of them is learnt, and every problem of a file."""

import json
from pathlib import Path
from typing import Any

import pytest

from onegen_model.cli import main
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.finetune.data.chunks import chunks
from onegen_model.finetune.data.collator import Collator
from onegen_model.finetune.data.datasets import Data, open_data
from onegen_model.finetune.data.examples import RetrievalTarget
from onegen_model.finetune.data.linking import Entities, LinkingExample, render_linking
from onegen_model.finetune.loss.losses import LossSettings
from onegen_model.finetune.loss.objective import Objective
from onegen_model.jsonl import JsonLines
from onegen_model.transcript.linking_format import LinkingFormat
from onegen_model.transcript.linking_renderer import LinkingRenderer
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.template import Template
from onegen_model.transcript.tokens import add_control_tokens
from tests.conftest import make_tokenizer
from tests.support.linking_model import linking_model
from tests.support.training_files import write

TEXT = "Adams wrote the Guide in Islington."
ENTITIES = [
    {"id": "Q1", "name": "Adams", "wiki_title": "Douglas Adams", "description": "writer"},
    {"id": "Q2", "name": "Islington"},
    {"id": 3, "title": "Guide", "text": "a novel"},
]


def mention(start: Any, end: Any, **more: Any) -> dict[str, Any]:
    return {"start": start, "end": end, **more}


def line(*mentions: Any, **more: Any) -> dict[str, Any]:
    return {"id": "t", "text": TEXT, "mentions": list(mentions), **more}


def linked(folder: Path, *lines: Any) -> Data:
    entities = write(folder / "entities.jsonl", *ENTITIES)
    return open_data("entity_linking", write(folder / "train.jsonl", *lines), entities)


def bound(format: LinkingFormat | None = None) -> Renderer:
    template = Template(linking=format or LinkingFormat())
    tokenizer = make_tokenizer()
    add_control_tokens(tokenizer, template.added_tokens)
    return Renderer(template, tokenizer, 64)


def test_a_line_becomes_a_text_with_its_mentions_in_order(tmp_path: Path) -> None:
    adams = mention(0, 5, surface="Adams", entity_id="Q1", negatives=["Q2", 3], kind="hard")
    data = linked(tmp_path, line(mention(16, 21), adams, annotation="partial"))
    (example,) = data.examples.require_sound()
    assert example == LinkingExample(
        "t",
        TEXT,
        ((0, 5), (16, 21)),
        (RetrievalTarget(("Q1",), ("Q2", "3")), RetrievalTarget(())),
        is_exhaustive=False,
    )
    assert data.passages["Q1"] == Passage("Q1", "writer", "Douglas Adams", {"name": "Adams"})
    assert data.passages["Q2"] == Passage("Q2", "Islington")
    assert data.passages["3"] == Passage("3", "a novel", "Guide")
    batch = Collator(bound(), data.passages)([example])
    assert batch["targets"].tolist()[1] == -100, "a mention without an entity finds none"


def learnt(example: LinkingExample, renderer: Renderer) -> tuple[list[str], list[str]]:
    """The texts of the tokens that are targets, and of the others behind the prompt."""
    linking = LinkingRenderer(renderer)
    rendered = render_linking(example, linking)
    prompt = len(linking.prompt_ids(example.text))
    assert not any(rendered.written[:prompt])
    ids = zip(rendered.ids[prompt:], rendered.written[prompt:], strict=True)
    pieces = [(renderer.tokenizer.decode([one]).strip(), is_learnt) for one, is_learnt in ids]
    assert rendered.written[-1]
    link = renderer.tokenizer.convert_tokens_to_ids("[LK]")
    assert [rendered.ids[at] for at in rendered.query_positions] == [link] * len(example.mentions)
    return [one for one, yes in pieces if yes], [one for one, yes in pieces if not yes]


def test_an_unmarked_name_is_a_target_only_where_every_mention_is_marked() -> None:
    text = "the sea and the town and Alba"
    example = LinkingExample("t", text, ((4, 7),), (RetrievalTarget(("Q1",)),))
    renderer = bound()
    full, rest = learnt(example, renderer)
    for tag in ("<MENTION>", "</MENTION>", "[LK]"):
        assert full.count(tag) == 1
    assert any(one.startswith("A") for one in full)
    assert rest, "of the text around the mentions a share is learnt"
    partial, others = learnt(LinkingExample("t", text, ((4, 7),), example.targets, False), renderer)
    assert not any(one.startswith("A") for one in partial)
    assert any(one.startswith("A") for one in others)
    assert {"<MENTION>", "</MENTION>", "[LK]"} <= set(partial)


def targets_of(text: str, mention: tuple[int, int]) -> list[str]:
    """The characters outside of the mention that are targets in a partial text."""
    linking = LinkingRenderer(bound())
    example = LinkingExample("t", text, (mention,), (RetrievalTarget(("Q1",)),), False)
    rendered = render_linking(example, linking)
    prompt = len(linking.prompt_ids(text))
    tokens = linking.cut(linking.tokens(text), [mention])
    found = tokens.find(mention)
    assert found is not None
    marked = linking.marked(tokens, [found])
    written = rendered.written[prompt:-1]
    outside = [
        owner
        for owner, is_target in zip(marked.tokens, written, strict=True)
        if is_target and owner >= 0 and not found[0] <= owner < found[1]
    ]
    return [text[slice(*tokens.spans[owner])] for owner in outside]


def test_of_a_partial_text_the_token_behind_a_mention_is_learnt_and_no_beginning_of_a_name() -> (
    None
):
    for words in ("a", "a b", "a b c"):  # whatever its number is
        text = f"{words} sea, and 7 Towns"
        start = text.index("sea")
        learnt_here = targets_of(text, (start, start + 3))
        assert "," in learnt_here
        assert not any(one.strip()[:1] in ("7", "T") for one in learnt_here if one.strip())
    text = "sea Towns"
    assert not any(one.strip() == "T" for one in targets_of(text, (0, 3)))


def test_a_batch_without_a_mention_trains_the_text_alone() -> None:
    model = linking_model()
    texts = [LinkingExample(name, "Nothing is here.", (), ()) for name in "ab"]
    batch = Collator(model.renderer, {})(texts)
    assert batch["passages"] == []
    for settings in (LossSettings(cross_batch_negatives=8), LossSettings(contrastive="bpr")):
        outputs = Objective(model.network, settings).train()(**batch)
        assert outputs["contrastive_loss"] == 0
        assert outputs["loss"] == outputs["language_modeling_loss"] > 0


def test_what_is_forced_behind_the_link_token_is_no_target() -> None:
    example = LinkingExample("t", "the sea", ((4, 7),), (RetrievalTarget(()),))
    full, rest = learnt(example, bound(LinkingFormat(after_link="[_CONTINUE_]")))
    assert "[LK]" in full
    assert "[_CONTINUE_]" in rest


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (line(mention(0, 5), mention(3, 8)), "mentions[1]: overlaps mentions[0]; expected mentio"),
        (line(mention(3, 8), mention(0, 5)), "mentions[0]: overlaps mentions[1]; expected mentio"),
        (line(mention(0, 99)), "mentions[0]: 0 to 99; expected 0 <= start < end <= 35"),
        (line(mention(-1, 5)), "mentions[0]: -1 to 5; expected 0 <= start"),
        (line(mention(5, 5)), "mentions[0]: 5 to 5; expected 0 <= start"),
        (line(mention(16, 21), mention(0, 5, surface="X")), "mentions[1].surface: 'X'; the text h"),
        (line(mention(0, 6)), "mentions[0]: 'Adams '; expected no white space around it"),
        (line(mention(0, 5, entity_id="Q9")), "mentions[0].entity_id: no entity 'Q9' in the corp"),
        (line(mention(0, 5, negatives=["Q1", "Q9"])), "mentions[0].negatives[1]: no entity 'Q9'"),
        (
            line(mention(0, 5, entity_id="Q1", negatives=["Q2", "Q1"])),
            "mentions[0].negatives[1]: 'Q1' is the entity of this mention; expected others",
        ),
        (line(mention(0, 5, entity_id="")), "mentions[0].entity_id: expected the id of an entity"),
        (line(mention(0, 5, entity_id=["Q1"])), "mentions[0].entity_id: expected the id of an"),
        (line(mention(0, 5, negatives="Q1")), "mentions[0].negatives: expected a list of entity"),
        (line(mention(0, 5, negatives=[None])), "mentions[0].negatives[0]: expected the id of an"),
        (line(mention(0, 5, entity="Q1")), "mentions[0].entity: unknown; did you mean 'entity_id'"),
        (line(mention("0", 5)), "mentions[0].start: expected a number of characters"),
        (line(mention(True, 5)), "mentions[0].start: expected a number of characters"),
        (line({"start": 0}), "mentions[0].end: expected a number of characters"),
        (line(5), "mentions[0]: expected an object"),
        ({"id": 1, "text": TEXT}, "mentions: expected a list of mentions"),
        (line(text=" \n"), "text: expected some text"),
        (line(text=5), "text: expected some text"),
        (line(annotation="full"), "annotation: expected exhaustive or partial"),
        (line(anotation="partial"), "anotation: unknown; did you mean 'annotation'?"),
        (line(id=None), "id: expected a text or a number"),
    ],
)
def test_every_problem_is_named_by_line_and_field(tmp_path: Path, bad: Any, problem: str) -> None:
    data = linked(tmp_path, line(), bad)
    ((number, found),) = data.examples.problems()
    assert number == 1
    assert str(found).startswith(problem)
    with pytest.raises(InvalidInputError, match=r"train.jsonl:2: "):
        data.examples.require_sound()


@pytest.mark.parametrize(
    ("text", "span", "problem"),
    [
        ("a 👩‍🚀 b", (2, 3), "the mention '👩' at 2 begins or ends inside a character"),
        ("a\ud800b", (2, 3), "lone surrogate"),
    ],
)
def test_a_text_that_cannot_be_marked_is_named(text: str, span: Any, problem: str) -> None:
    example = LinkingExample("t9", text, (span,), (RetrievalTarget(()),))
    with pytest.raises(InvalidInputError, match=f"Example 't9': .*{problem}"):
        render_linking(example, LinkingRenderer(bound()))


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([{"name": "a"}], ":1: an entity has no id"),
        ([{"id": 1, "name": " "}], ":1: entity '1' has no name"),
        ([{"id": 1, "name": "a"}, {"id": "1", "name": "b"}], ":2: id '1' is in .*:1 already"),
    ],
)
def test_a_bad_line_of_entities_is_named(tmp_path: Path, lines: list[Any], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        Entities(JsonLines(write(tmp_path / "entities.jsonl", *lines)))


def test_data_check_reports_all_problems_of_a_file(
    tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    linked(tmp_path, line(mention(0, 5, entity_id="Q1")), line(), line(mention(0, 99), id=2), "{")
    files = [str(tmp_path / name) for name in ("train.jsonl", "entities.jsonl")]
    arguments = ["--format", "entity_linking", "--passages", files[1], "--model", str(base)]
    assert main(["data", "check", files[0], *arguments, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["num_examples"], found["num_queries"], found["num_unused"]) == (2, 1, 2)
    begins = [one.removeprefix(f"{files[0]}:")[:14] for one in found["problems"]]
    assert begins == ["3: mentions[0]", "4: line: not J", "2: example 't'"]
    assert main(["data", "check", files[0], "--format", "entity_linking"]) == 2
    assert "expected the entities that mentions link to" in capsys.readouterr().err


def test_mine_refuses_linked_texts_before_their_entities_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    linked(tmp_path, line(mention(0, 5, entity_id="Q1")))
    command = ["mine", str(tmp_path / "train.jsonl"), "--out", str(tmp_path / "mined.jsonl")]
    command += ["--passages", str(tmp_path / "entities.jsonl")]
    for given in ([], ["--format", "entity_linking"]):
        assert main([*command, *given]) == 2
        message = capsys.readouterr().err
        assert "cannot be mined for the format entity_linking; expected transcripts or" in message
        assert "wrong entities of each mention in its `negatives`" in message


def test_chunks_hold_no_more_padding_than_allowed() -> None:
    lengths = [10, 20, 60, 100, 110, 120]
    padding = {
        most: [
            1 - sum(chunk) / (len(chunk) * max(chunk))
            for chunk in chunks(lengths, int, 1000, most)
            if len(chunk) * max(chunk) > 128
        ]
        for most in (1.0, 0.3, 0.05)
    }
    assert chunks(lengths, int, 1000) == [lengths]
    assert max(padding[1.0]) > 0.4
    assert max(padding[0.3]) <= 0.3
    assert max(padding[0.05]) <= 0.05
    for most in padding:
        cut = chunks(lengths, int, 1000, most)
        assert [one for chunk in cut for one in chunk] == lengths
    assert chunks([1, 100], int, 1000, 0.0) == [[1], [100]]
    assert chunks([1, 60], int, 1000, 0.0) == [[1, 60]], "a small pass costs little"
    assert chunks([60, 60, 60], int, 130, 1.0) == [[60, 60], [60]], "both limits hold"
