"""Written ids that come back: tool calls as tokens, cut frames, ids of a client."""

import pytest
from tokenizers import AddedToken

from onegen_model import Conversation, Message, Segment
from onegen_model.inputs import Prompt
from onegen_model.transcript.conversation import conversation_ids
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.template import Template
from onegen_model.transcript.tool_calls import ToolCall, render_tool_call
from tests.conftest import make_tokenizer
from tests.support.drivers import Stage

CALL = ToolCall("search", {"query": "Who wrote it?"})
ASKED = Message("user", "q?")


@pytest.fixture(scope="module")
def tagged() -> Renderer:
    """A tokenizer whose added tokens include the tags of tool calls, as Qwen's."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken(tag) for tag in ("<tool_call>", "</tool_call>")])
    return Renderer(Template(), tokenizer, max_passage_tokens=64)


def replay(renderer: Renderer, text: str, ids: tuple[int, ...]) -> list[int]:
    conversation = Conversation((ASKED, Message("assistant", segments=(Segment(text, ids=ids),))))
    prompt = renderer.question_ids("q?")
    found = conversation_ids(renderer, conversation)
    assert found[: len(prompt)] == prompt
    return found[len(prompt) :]


@pytest.mark.parametrize("compact", [False, True])
def test_a_tool_call_is_replayed_in_the_tokens_that_it_was_written_in(
    tagged: Renderer, compact: bool
) -> None:
    stage, text = Stage(tagged), render_tool_call(CALL)
    written = text.replace('": ', '":') if compact else text
    ids = tagged.tokenizer(written, add_special_tokens=False).input_ids
    prompt = tagged.question_ids("q?")
    stage.lines[tuple(prompt)] = [*ids, tagged.end_id]
    handle = stage.driver.submit(Prompt(prompt, "q?"))
    assert list(stage.driver.drive(handle))
    answer = handle.answer()
    assert answer.written == (tuple(ids),)
    assert answer.text == written
    # An adapter writes the call that it has kept, in a form of its own.
    assert replay(tagged, text, answer.written[0]) == ids
    assert len(tagged.text_ids(text)) > len(ids)


def test_another_call_is_read_as_it_was_changed(tagged: Renderer) -> None:
    ids = tuple(tagged.tokenizer(render_tool_call(CALL), add_special_tokens=False).input_ids)
    changed = render_tool_call(ToolCall("search", {"query": "Who?"}))
    assert replay(tagged, changed, ids) == tagged.text_ids(changed)


@pytest.mark.parametrize("forged", [-1, 10**9, 2**70, "1", None, 1.5])
def test_ids_that_are_none_of_the_tokenizer_are_ignored(renderer: Renderer, forged: object) -> None:
    ids = (*renderer.text_ids("Ada"), forged)
    assert replay(renderer, "Ada", ids) == renderer.text_ids("Ada")  # type: ignore[arg-type]


@pytest.mark.parametrize("control", ["[RQ]", "<paragraph>", "<|im_end|>", "[RD]"])
def test_control_ids_of_a_client_are_ignored(renderer: Renderer, control: str) -> None:
    ids = (*renderer.text_ids("Ada"), renderer.tokenizer.convert_tokens_to_ids(control))
    assert replay(renderer, "Ada", ids) == renderer.text_ids("Ada")


@pytest.mark.parametrize("cut", ["<FINAL-ANSWER", "<FINAL-ANSWER>", "<FINAL-AN"])
def test_a_frame_that_the_text_does_not_show_is_not_continued(renderer: Renderer, cut: str) -> None:
    ids = tuple(renderer.text_ids(f"By the sea\n{cut}"))
    assert replay(renderer, "By the sea\n", ids) == renderer.text_ids("By the sea\n")
    assert replay(renderer, f"By the sea\n{cut}", ids) == [*ids]
