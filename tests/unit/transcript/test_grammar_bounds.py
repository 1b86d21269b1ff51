"""Default bounds of grammars, refused grammars, and failures under a grammar."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from onegen_model.engine.constraint import GrammarCompiler
from onegen_model.engine.sampling import BatchSampler, Choice, TokenSampler
from onegen_model.engine.scripted import ScriptedEngine
from onegen_model.engine.transformers import TransformersEngine
from onegen_model.errors import InvalidInputError, MissingExtraError
from onegen_model.events import Finished
from onegen_model.generation.driver import Driver, control_ids
from onegen_model.inputs import Prompt
from onegen_model.params import SamplingParams
from onegen_model.transcript.grammar import Grammar
from onegen_model.transcript.renderer import Renderer
from tests.support.engines import QUESTIONS, Player, World, check_clean
from tests.support.grammars import TOOLS, make_engine


@pytest.fixture
def world(renderer: Renderer, tiny_network: PreTrainedModel) -> World:
    return World(renderer, tiny_network.config.hidden_size)


@pytest.fixture(scope="module")
def accepts(tiny_tokenizer: PreTrainedTokenizerFast, renderer: Renderer) -> Callable[..., bool]:
    """Whether a grammar lets a model write a text and end there."""
    control = control_ids(renderer)
    compiler = GrammarCompiler(tiny_tokenizer, control)

    def accepts(grammar: Grammar, text: str) -> bool:
        constraint = compiler(grammar)
        for token_id in renderer.text_ids(text):
            # Forced text may be tokenised otherwise than `allowed` proposes it, so only a refusal
            # counts: after it nothing is allowed.
            constraint.accept(token_id)
        allowed = constraint.allowed()
        return bool(allowed.any()) and bool(allowed[[*control.end]].all())

    return accepts


@pytest.mark.parametrize(
    ("schema", "longest", "too_long"),
    [
        ({"type": "string"}, f'"{"é" * 512}"', f'"{"é" * 513}"'),
        ({"type": "string", "maxLength": 600}, f'"{"a" * 600}"', f'"{"a" * 601}"'),
        ({"type": "string", "minLength": 600}, f'"{"a" * 600}"', f'"{"a" * 601}"'),
        ({"type": "integer"}, "-1000000000000000", "1000000000000001"),
        ({"type": "integer", "minimum": 10**16}, str(10**20), "9999999999999999"),
        ({"type": "number"}, "0.123456789", "0.1234567891"),
        ({"type": "number", "minimum": 1e-12}, "0.0000000000011", "0.0000000000001"),
        ({"type": "array", "items": {"type": "null"}}, str([None] * 32), str([None] * 33)),
        ({"type": "array", "minItems": 40}, str([0] * 40), str([0] * 41)),
        ({"type": "object"}, f'{{"{"k" * 64}": 1}}', f'{{"{"k" * 65}": 1}}'),
        ({}, "[[[[1]]]]", "[[[[[1]]]]]"),
        ({"type": "object", "properties": {"a": {}}}, '{"a": 1}', '{"a": 1, "b": 1}'),
        (
            {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
            '{"a": 1, "b": 1}',
            '{"a": 1, "a": 1}',
        ),
        (
            {
                "$defs": {"A": {"properties": {"a": {"type": "null"}}, "type": "object"}},
                "allOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": {"type": "null"}}}],
            },
            '{"a": null, "b": null}',
            '{"a": null, "b": 1}',
        ),
        ({"type": "string", "format": "int-like"}, '"x"', "x"),
    ],
)
def test_what_has_no_bound_gets_one(
    accepts: Callable[..., bool], schema: dict[str, Any], longest: str, too_long: str
) -> None:
    grammar = Grammar.json_schema(schema)
    assert accepts(grammar, longest.replace("None", "null"))
    assert not accepts(grammar, too_long.replace("None", "null"))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Grammar("start: nothing"), "nothing"),
        (lambda: Grammar.json_schema({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (lambda: Grammar.json_schema({"type": "string", "pattern": "(?=a)"}), "look-around"),
        (lambda: Grammar.json_schema({"type": "integer", "minimum": 3, "maximum": 1}), "greater"),
        (lambda: Grammar.json_schema({"$ref": "#/$defs/Gone"}), "Gone"),
        (lambda: Grammar.json_schema({"enum": [object()]}), "not JSON serializable"),
        (lambda: Grammar.json_schema([]), "schema"),
        (lambda: Grammar.tool_call([]), "none"),
        (lambda: Grammar.tool_call(TOOLS, name="sub"), "add, add_élan, now"),
        (lambda: Grammar.tool_call([{"name": "add"}]), "no function"),
    ],
)
def test_what_cannot_be_constrained_is_refused_at_once(
    make: Callable[[], Grammar], problem: str
) -> None:
    with pytest.raises(InvalidInputError, match=problem) as caught:
        make()
    assert "; expected " in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtraError, match=r"onegen\[tools\]"):
        Grammar.json_object()


def test_engines_that_cannot_constrain_say_so(world: World, tiny_network: PreTrainedModel) -> None:
    request = world.request(0, QUESTIONS[0], grammar=Grammar.json_object())
    for engine in (TransformersEngine(tiny_network), ScriptedEngine(404)):
        with pytest.raises(InvalidInputError, match="expected"):
            engine.add(request)


EMPTY = {"type": "number", "minimum": 0.5, "maximum": 0.50000000000001, "multipleOf": 1e-9}


def test_a_grammar_without_a_text_reaches_only_its_caller(
    world: World, renderer: Renderer, tiny_network: PreTrainedModel
) -> None:
    driver = Driver(make_engine(world, tiny_network), renderer)
    prompt = renderer.question_ids(QUESTIONS[0])
    good = driver.submit(Prompt(prompt), sampling=SamplingParams(max_new_tokens=5))
    nothing = Grammar(f"start: %json {json.dumps(EMPTY)}")
    bad = driver.submit(Prompt(prompt), sampling=SamplingParams(grammar=nothing))
    with pytest.raises(InvalidInputError, match="allows no text"):
        list(driver.drive(bad))
    events = list(driver.drive(good))
    assert isinstance(events[-1], Finished)
    assert events[-1].reason in ("length", "end")


class Fixed:
    """A constraint that always allows the same."""

    def __init__(self, *allowed: bool) -> None:
        self._allowed = torch.tensor(allowed)

    def allowed(self) -> Tensor:
        return self._allowed

    def accept(self, token_id: int) -> None:
        pass


def test_a_grammar_that_is_stuck_fails_only_its_request(
    world: World, tiny_network: PreTrainedModel
) -> None:
    engine = TransformersEngine(tiny_network, constrain=lambda _: Fixed(False))
    stuck = world.request(0, QUESTIONS[0], grammar=Grammar.json_object())
    free = world.request(1, QUESTIONS[1], mode="never")
    events = Player(engine, world).run(stuck, free)
    assert [type(event) for event in events[0]] == [Finished]
    assert events[0][0].reason == "failed"
    assert "No token can be written next under the grammar" in str(stuck.error)
    check_clean(tiny_network, world, free, events[1])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_columns_without_a_token_are_never_chosen(temperature: float) -> None:
    params = SamplingParams(temperature=temperature)
    rows = [
        Choice(TokenSampler(params, Fixed(True, False, True)), (), frozenset({0})),
        Choice(TokenSampler(SamplingParams()), (), frozenset()),
    ]
    logits = torch.tensor([[5.0, 4.0, 1.0, 9.0]] * 2)
    assert BatchSampler()(logits, rows) == [2, 3]
    assert logits[0].tolist() == [5, 4, 1, 9], "the caller's logits stay"
