"""The published train.jsonl and db.jsonl of entity linking, as examples and as errors."""

from pathlib import Path
from typing import Any

import pytest

from onegen_model.checkpoint.presets import ENTITY_LINKING
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.finetune.data.collator import Collator
from onegen_model.finetune.data.datasets import Data, Format, open_data
from onegen_model.finetune.data.examples import RetrievalTarget
from onegen_model.finetune.data.linking import LinkingExample
from onegen_model.finetune.data.survey import survey
from onegen_model.transcript.renderer import Renderer
from tests.support.linking_model import TEMPLATE, linking_tokenizer
from tests.support.training_files import write

DESCRIBED = "Describe it in '[SE]'. Michael Jordan: player"
LK = "[LK][_CONTINUE_]"
TEXT = "Jordan left  Chicago.\n"
REPLY = f"<MENTION>Jordan</MENTION>{LK} left  <MENTION>Chicago</MENTION>{LK}.</s>"


def entity(uid: str | int, text: str) -> dict[str, Any]:
    said = [{"role": "user", "content": text}, {"role": "assistant", "content": "[SE]"}]
    return {"uid": uid, "messages": said}


def conversation(
    reply: str, positive: Any = None, negative: Any = None, prompt: str | None = None
) -> dict[str, Any]:
    count = reply.count("[LK]")
    asked = ENTITY_LINKING.prompt.replace("{question}", TEXT) if prompt is None else prompt
    said = {
        "role": "assistant",
        "content": reply,
        "positive": [None] * count if positive is None else positive,
        "negative": [[]] * count if negative is None else negative,
    }
    return {"messages": [{"role": "user", "content": asked}, said]}


def published(folder: Path, *lines: dict[str, Any], form: Format = "entity_linking") -> Data:
    entities = (entity("Q41421", DESCRIBED), entity("Q-1", "Chicago: city"), entity(7, "a band"))
    db = write(folder / "db.jsonl", *entities)
    return open_data(form, write(folder / "train.jsonl", *lines), db)


def example_of(data: Data) -> LinkingExample:
    (example,) = data.examples.require_sound()
    assert isinstance(example, LinkingExample)
    return example


def surfaces(example: LinkingExample) -> list[str]:
    return [example.text[start:end] for start, end in example.mentions]


def problem_of(data: Data) -> str:
    with pytest.raises(InvalidInputError) as caught:
        data.examples.require_sound()
    return str(caught.value)


def test_a_reply_becomes_a_text_with_its_mentions(tmp_path: Path) -> None:
    positive, negative = ["Q41421", ["Q-1", 7, None]], [[7, None], ["Q41421-0"]]
    example = example_of(published(tmp_path, conversation(REPLY, positive, negative)))
    assert example.text == TEXT
    assert example.mentions == ((0, 6), (13, 20))
    assert example.is_exhaustive
    assert example.targets == (
        RetrievalTarget(("Q41421",), ("7",)),
        RetrievalTarget(("Q-1", "7"), ("Q41421-0",)),
    )


def test_it_trains_and_its_entities_are_those_of_db_jsonl(tmp_path: Path) -> None:
    data = published(tmp_path, conversation(REPLY, ["Q41421", None], [[7], []]))
    assert data.passages["Q41421"] == Passage("Q41421", DESCRIBED)
    renderer = Renderer(TEMPLATE, linking_tokenizer(), 64)
    collator = Collator(renderer, data.passages)
    found = survey(data, collator, limit=9, on_truncation="error")
    assert (found.num_examples, found.num_queries, found.num_problems) == (1, 2, 0)
    batch = collator([example_of(data)])
    assert batch["targets"].tolist()[1] == -100, "a null positive trains the marking alone"
    assert len(batch["passage_keys"]) == 2
    rendered = collator.render(example_of(data))
    shown = renderer.tokenizer.decode(list(rendered.ids))
    assert shown.count("[LK]") == 2
    assert "[_CONTINUE_]" not in shown, "the template decides what follows the link token"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (f" {REPLY}", ["Jordan", "Chicago"]),
        (f"Jordan left <MENTION> Chicago. </MENTION>{LK}\n", ["Chicago."]),
        ("Jordan left  <MENTION>Chicago</MENTION>[LK].", ["Chicago"]),
        ("Jordan left  Chicago.</s>", []),
    ],
)
def test_white_space_around_text_and_mentions_changes_nothing(
    tmp_path: Path, reply: str, expected: list[str]
) -> None:
    example = example_of(published(tmp_path, conversation(reply)))
    assert (example.text, surfaces(example)) == (TEXT, expected)


def test_a_prompt_in_other_words_has_the_text_in_it(tmp_path: Path) -> None:
    asked = f"Mark the names: {TEXT}Thanks."
    example = example_of(published(tmp_path, conversation(REPLY, prompt=asked)))
    assert (example.text, surfaces(example)) == (TEXT.strip(), ["Jordan", "Chicago"])
    data = published(tmp_path, conversation(REPLY, prompt="Mark: Jordan left."))
    assert "without its tags is not in the prompt; expected the same text" in problem_of(data)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            conversation(f"<MENTION>Jordan</MENTION>{LK} left Chicago."),
            "at character 12: 'Chicago.'; expected ' Chicago.', as in the prompt",
        ),
        (conversation(f"Jordan left  <MENTION>Chicago</MENTION>{LK}"), "20: 'nothing more'; exp"),
        (conversation(f"Jordan <MENTION>left  Chicago.{LK}"), "a [LK] that does not follow </MEN"),
        (
            conversation(f"<MENTION>Jordan</MENTION> left  <MENTION>Chicago</MENTION>{LK}."),
            "at character 6: '</MENTION> left",
        ),
        (conversation(f"Jordan left  <MENTION> </MENTION>{LK}Chicago."), "mention 0 is blank"),
        (conversation("", prompt=ENTITY_LINKING.prompt.replace("{question}", " ")), "is blank"),
        (conversation(REPLY, ["Q41421"]), "messages[1].positive: expected one entry for each of 2"),
        (conversation(REPLY, [None, "Q9"]), "messages[1].positive[1]: no 'Q9' in the corpus"),
        (conversation(REPLY, None, [[], ["7-1"]]), "messages[1].negative[1]: no '7-1'"),
        (conversation("An answer.", prompt="Who?"), "questions are `format: published`"),
        ({"messages": [1]}, "messages[0]: expected an object"),
        ({"messages": []}, "messages: expected one message of the user and one of the assistant"),
    ],
)
def test_what_a_line_cannot_mean_is_named(
    tmp_path: Path, line: dict[str, Any], problem: str
) -> None:
    good = conversation(REPLY)
    found = problem_of(published(tmp_path, good, line))
    assert "train.jsonl:2: messages" in found
    assert problem in found


def test_it_is_no_data_of_questions(tmp_path: Path) -> None:
    found = problem_of(published(tmp_path, conversation(REPLY), form="published"))
    assert "mentions are linked; expected a question and its answer" in found
    assert "try `format: entity_linking` in a recipe" in found


def test_our_texts_may_name_published_entities(tmp_path: Path) -> None:
    line = {"id": 1, "text": "Jordan.", "mentions": [{"start": 0, "end": 6, "entity_id": "Q41421"}]}
    data = published(tmp_path, line)
    assert example_of(data).targets == (RetrievalTarget(("Q41421",)),)
    assert "Q41421" in data.passages
