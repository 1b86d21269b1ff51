"""Structured output behind a retrieval: no markup inside its strings, and an end."""

import json
from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from onegen_model import Conversation, Message, Passage, Segment
from onegen_model.engine.constraint import GrammarCompiler
from onegen_model.engine.transformers import TransformersEngine
from onegen_model.events import Finished, Token, Usage
from onegen_model.generation.driver import control_ids
from onegen_model.inputs import Prompt
from onegen_model.params import SamplingParams
from onegen_model.request import Request
from onegen_model.transcript.answer import Span, fold
from onegen_model.transcript.conversation import close_opening, conversation_ids
from onegen_model.transcript.grammar import Grammar
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.template import Template
from tests.conftest import make_tokenizer
from tests.support.engines import Player, World, written
from tests.support.tokenizers import gemma, llama_2, llama_3, mistral, qwen_2

ANSWER = Grammar.json_schema(
    {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
)
BRIDGE = Passage("1", "The bridge was opened on 4 May 1921.", "Bridge")
MARKS = ("<FINAL-ANSWER>", "</FINAL-ANSWER>", "[RQ]", "<paragraph>")


def write(renderer: Renderer, grammar: Grammar, wanted: str, limit: int = 200) -> str:
    """What a model writes under a grammar that wants to write `wanted` again and again."""
    path = GrammarCompiler.of(renderer)(grammar)
    ids: list[int] = []
    wishes = renderer.text_ids(wanted)
    for step in range(limit):
        allowed = path.allowed()
        ends = [one for one in sorted(renderer.roles.end) if allowed[one]]
        quote = renderer.text_ids('"')[0]
        wish = wishes[step % len(wishes)]
        first = int(allowed.int().argmax())
        chosen = next(one for one in (*ends, wish, quote, first) if allowed[one])
        if chosen in ends:
            break
        path.accept(chosen)
        ids.append(chosen)
    return str(renderer.tokenizer.decode(ids))


@pytest.mark.parametrize("mark", MARKS)
def test_no_mark_of_the_template_is_written_inside_a_string(renderer: Renderer, mark: str) -> None:
    text = write(renderer, ANSWER, f'{{"answer": "> 4 May 1921{mark}{mark}')
    assert json.loads(text)["answer"].startswith("> 4 May 1921")
    assert mark not in text


def test_a_grammar_that_asks_for_a_mark_gets_it(renderer: Renderer) -> None:
    wanted = "<FINAL-ANSWER>[RQ]</FINAL-ANSWER>"
    text = write(renderer, Grammar.json_schema({"const": wanted}), "x")
    assert json.loads(text) == wanted


@pytest.mark.parametrize("string", ["<paragraph>", "[RQ]</s>", "[RQ] e\u0301<|im_start|>"])
@pytest.mark.parametrize("family", [llama_2, mistral, gemma, qwen_2, llama_3])
def test_a_key_with_a_control_string_is_no_control_token_in_any_family(
    family: Callable[[], PreTrainedTokenizerFast], string: str
) -> None:
    renderer = Renderer(Template(), family(), max_passage_tokens=64)
    path = GrammarCompiler.of(renderer)(Grammar.json_schema({"const": string}))
    ids: list[int] = []
    while not (allowed := path.allowed())[sorted(renderer.roles.end)].any():
        ids.append(int(allowed.int().argmax()))
        path.accept(ids[-1])
    assert not renderer.roles.hidden & set(ids)
    assert json.loads(renderer.tokenizer.decode(ids)) == string


def test_no_reflection_token_is_written_inside_a_string() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["[Relevant]"])
    renderer = Renderer(Template(reflection=("[Relevant]",)), tokenizer, max_passage_tokens=64)
    path = GrammarCompiler.of(renderer)(ANSWER)
    for one in renderer.text_ids('{"answer": "a'):
        path.accept(one)
    allowed = path.allowed()
    assert allowed.any()
    assert not allowed[sorted(renderer.roles.hidden)].any()


@pytest.mark.parametrize("seed", range(3))
def test_a_random_model_ends_its_output_without_markup(
    renderer: Renderer, tiny_network: PreTrainedModel, seed: int
) -> None:
    world = World(renderer, tiny_network.config.hidden_size)
    control = control_ids(renderer)
    engine = TransformersEngine(tiny_network, constrain=GrammarCompiler.of(renderer))
    sampling = SamplingParams(grammar=ANSWER, max_new_tokens=450, temperature=1.2, seed=seed)
    prompt = Prompt(conversation_ids(renderer, behind_retrieval(renderer)), "When?")
    request = Request(0, prompt, control, max_context=512, sampling=sampling)
    (events,) = Player(engine, world).run(request)
    text = renderer.tokenizer.decode(
        [one for one in written(events) if renderer.roles.is_text(one)]
    )
    assert not any(mark in text for mark in MARKS)


def behind_retrieval(renderer: Renderer, end: str = "<FINAL-ANSWER>") -> Conversation:
    """A run that stopped where its answer begins, as the adapters' retrievers do."""
    text = f" 4 May 1921\n{end}"
    opening = (Segment("", True, (BRIDGE,)), Segment(text, ids=tuple(renderer.text_ids(text))))
    return Conversation((Message("user", "When?"), Message("assistant", segments=opening)))


@pytest.mark.parametrize("end", [*MARKS[:2], "<FINAL-ANSWER", "<FINAL-ANSWER> 19", ""])
def test_a_grammar_does_not_start_in_a_frame_that_is_still_open(
    renderer: Renderer, end: str
) -> None:
    conversation = behind_retrieval(renderer, end)
    closed = close_opening(renderer, conversation)
    assert isinstance(closed, Conversation)
    ids, free = (conversation_ids(renderer, one) for one in (closed, conversation))
    assert renderer.tokenizer.decode(free).endswith(f"</paragraph> 4 May 1921\n{end}")
    shown = renderer.tokenizer.decode(ids)
    rest = "19\n" if "19" in end else ""
    assert shown.endswith(f"</paragraph> 4 May 1921\n{rest}")
    # What was written before the frame is read from the cache.
    assert free[: len(ids)] == ids or rest


def test_the_answer_under_a_grammar_is_what_the_grammar_let_be_written(renderer: Renderer) -> None:
    text = '{"answer": "<FINAL-ANSWER>"}'
    ids = renderer.text_ids(text)
    events = [Token(0, one, text=renderer.tokenizer.decode([one])) for one in ids]
    finished = Finished(0, "end", Usage())
    opening = [Span("When?"), Span(" 4 May 1921\n", (5,))]
    answer = fold([*events, finished], ids, renderer, opening, constrained=True)
    assert answer.text == text
    assert answer.steps == ("When?", "4 May 1921")
    assert answer.written == ((), (5, *ids))


def test_markup_costs_no_pass_over_the_vocabulary_per_step(renderer: Renderer) -> None:
    path = GrammarCompiler.of(renderer)(ANSWER)
    for one in renderer.text_ids('{"answer": "</FINAL-ANSWER'):
        path.accept(one)
    first, again = path.allowed(), path.allowed()
    assert torch.equal(first, again)
    assert not first[renderer.text_ids(">")[0]]
    assert first[renderer.text_ids("e")[0]]
