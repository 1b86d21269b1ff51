"""The output of a random model under a grammar, and effects on other requests."""

import json
from typing import Any

import jsonschema
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import AddedToken, PreTrainedModel, PreTrainedTokenizerFast

from onegen_model.engine import forward
from onegen_model.engine.constraint import GrammarCompiler
from onegen_model.engine.transformers import TransformersEngine
from onegen_model.events import Event, Finished, Token
from onegen_model.generation.driver import Driver, control_ids
from onegen_model.inputs import ControlIds, Prompt
from onegen_model.network import read
from onegen_model.params import SamplingParams
from onegen_model.transcript.grammar import Grammar
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.template import Template
from onegen_model.transcript.tool_calls import ToolCall, ToolCallParser, render_tool_call
from tests.conftest import make_tokenizer
from tests.support.engines import QUESTIONS, Player, World, check_clean, written
from tests.support.grammars import TOOLS, make_engine

SHORT = {"type": "string", "maxLength": 6}
PERSON = {
    "$defs": {
        "Place": {"type": "object", "properties": {"name": SHORT}, "required": ["name"]},
        "Kind": {"enum": ["writer", "Straße 😀", 3, None]},
    },
    "type": "object",
    "properties": {
        "name": {**SHORT, "title": "Name", "description": "a name"},
        "born": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "kind": {"$ref": "#/$defs/Kind"},
        "home": {"allOf": [{"$ref": "#/$defs/Place"}], "default": {"name": "x"}},
        "places": {"type": "array", "items": {"$ref": "#/$defs/Place"}, "maxItems": 2},
        "height": {"type": "number", "minimum": 0, "exclusiveMaximum": 3},
    },
    "required": ["name", "kind", "places"],
}
SCHEMAS = {
    "nested": PERSON,
    "map": {"type": "object", "additionalProperties": {"type": "boolean"}, "maxProperties": 2},
    "union": {"oneOf": [{"type": "boolean"}, {"const": "é\n\"x\""}], "discriminator": {"x": "y"}},
    "date": {"type": "string", "format": "date"},
    "pattern": {"type": "string", "pattern": "^[äöü]+$", "maxLength": 9},
    "number": {"type": "number"},
    "recursive": {
        "$ref": "#/$defs/Node",
        "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
    },
    "control": {"const": "[RQ] <|im_end|></paragraph>"},
}  # fmt: skip


@pytest.fixture
def world(renderer: Renderer, tiny_network: PreTrainedModel) -> World:
    return World(renderer, tiny_network.config.hidden_size)


@pytest.fixture
def player(world: World, tiny_network: PreTrainedModel) -> Player:
    return Player(make_engine(world, tiny_network), world)


def text_of(world: World, events: list[Event]) -> str:
    """What was written up to the end token, which must come."""
    *ids, end = written(events)
    assert end in world.control.end
    assert not world.control.masked & {*ids}
    return str(world.renderer.tokenizer.decode(ids))


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_random_model_writes_what_the_schema_accepts(
    player: Player, world: World, name: str
) -> None:
    grammar = Grammar.json_schema(SCHEMAS[name])
    requests = [
        world.request(
            seed, QUESTIONS[seed % 4], grammar=grammar, max_new_tokens=400, seed=seed,
            temperature=0.0 if seed == 0 else 1.5, top_p=0.95, repetition_penalty=1.1,
        )
        for seed in range(5)
    ]  # fmt: skip
    for events in player.run(*requests):
        text = text_of(world, events)
        jsonschema.validate(json.loads(text), SCHEMAS[name])
        if "." not in text and "-0" not in text:  # 1.50 is 1.5
            assert json.dumps(json.loads(text), ensure_ascii=False) == text


def test_any_object(player: Player, world: World) -> None:
    request = world.request(
        0, QUESTIONS[2], grammar=Grammar.json_object(), max_new_tokens=450, temperature=1.0, seed=3
    )
    (events,) = player.run(request)
    assert isinstance(json.loads(text_of(world, events)), dict)


@pytest.mark.parametrize("name", [None, "add", "now"])
def test_a_tool_is_called(player: Player, world: World, name: str | None) -> None:
    grammar = Grammar.tool_call(TOOLS, name=name)
    requests = [
        world.request(n, q, grammar=grammar, max_new_tokens=200, temperature=1.0, seed=n)
        for n, q in enumerate(QUESTIONS)
    ]
    for events in player.run(*requests):
        text = text_of(world, events)
        parser = ToolCallParser()
        (call,) = [*parser.feed(text), *parser.flush()]
        assert isinstance(call, ToolCall)
        assert call.name == name or name is None
        function = next(t["function"] for t in TOOLS if t["function"]["name"] == call.name)
        jsonschema.validate(call.arguments, function.get("parameters", {"maxProperties": 0}))
        assert render_tool_call(call) == text


def test_batch_mates_change_nothing(player: Player, world: World, tiny_network: Any) -> None:
    def free() -> Any:
        return world.request(0, QUESTIONS[3], mode="always", max_new_tokens=40)

    def bound() -> Any:
        grammar = Grammar.json_schema(PERSON)
        return world.request(
            1, QUESTIONS[0], grammar=grammar, max_new_tokens=300, temperature=1.2, seed=5
        )

    together = (free(), bound())
    batched = player.run(*together)
    check_clean(tiny_network, world, together[0], batched[0])
    for request, events in zip((free(), bound()), batched, strict=True):
        (alone,) = Player(make_engine(world, tiny_network), world).run(request)
        assert written(alone) == written(events)
    other = world.request(
        2, QUESTIONS[0], grammar=Grammar.json_schema(PERSON), max_new_tokens=300,
        temperature=1.2, seed=6,
    )  # fmt: skip
    assert written(player.run(other)[0]) != written(batched[1])


def test_a_budget_ends_a_grammar(player: Player, world: World) -> None:
    grammar = Grammar.json_schema({"type": "string", "minLength": 100})
    (events,) = player.run(world.request(0, QUESTIONS[0], grammar=grammar, max_new_tokens=7))
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.reason == "length"
    assert len(written(events)) == 7


@pytest.mark.parametrize("failing", range(1, 8, 2))
def test_a_failed_forward_leaves_the_grammar_where_it_was(
    player: Player,
    world: World,
    tiny_network: PreTrainedModel,
    monkeypatch: pytest.MonkeyPatch,
    failing: int,
) -> None:
    def request() -> Any:
        return world.request(
            0, QUESTIONS[0], grammar=Grammar.json_schema(PERSON), max_new_tokens=300
        )

    (expected,) = Player(make_engine(world, tiny_network), world).run(request())
    calls = iter(range(10_000))

    def sometimes(*args: Any, **kwargs: Any) -> Any:
        readout = read(*args, **kwargs)
        if next(calls) == failing:
            raise torch.OutOfMemoryError("full")
        return readout

    monkeypatch.setattr(forward, "read", sometimes)
    (events,) = player.run(request())
    assert events == expected


# Other tokenizers.


def test_pieces_with_a_space_in_front_are_understood() -> None:
    letters = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    letters += list('abcdefghi{}":,')
    backend = Tokenizer(
        models.BPE({t: n for n, t in enumerate(letters)}, [], byte_fallback=True, unk_token="<unk>")
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    control = ControlIds(1, frozenset({2}), frozenset({0}))
    constraint = GrammarCompiler(tokenizer, control)(
        Grammar.json_schema(
            {"type": "object", "properties": {"a b": {"const": "é"}}, "required": ["a b"]}
        )
    )
    generator, ids = torch.Generator().manual_seed(0), [0]
    while ids[-1] != 2:
        allowed = constraint.allowed().float()
        assert not allowed[[0, 1]].any()
        ids.append(int(torch.multinomial(allowed, 1, generator=generator)))
        constraint.accept(ids[-1])
    pieces = [backend.id_to_token(one) for one in ids[1:-1]]
    assert backend.decoder.decode(["▁", *pieces]) == '{"a b": "é"}'


@pytest.fixture(scope="module")
def tagged() -> Renderer:
    """A tokenizer whose added tokens include the tags, as that of Qwen 2.5."""
    tokenizer = make_tokenizer()
    tags = ("<tool_call>", "</tool_call>", "<tool_response>")
    tokenizer.add_tokens([AddedToken(tag, special=False) for tag in tags])
    return Renderer(Template(), tokenizer, max_passage_tokens=64)


def test_tags_that_are_tokens_are_written_and_shown(tagged: Renderer, make_network: Any) -> None:
    tokenizer = tagged.tokenizer
    network = make_network("llama", vocab_size=len(tokenizer) + 5)
    control = control_ids(tagged)
    open_id, close_id, response_id = (
        tokenizer.convert_tokens_to_ids(tag)
        for tag in ("<tool_call>", "</tool_call>", "<tool_response>")
    )
    assert not {open_id, close_id} & control.masked
    assert response_id in control.masked
    engine = TransformersEngine(network, constrain=GrammarCompiler(tokenizer, control))
    driver = Driver(engine, tagged)
    sampling = SamplingParams(grammar=Grammar.tool_call(TOOLS, name="now"), max_new_tokens=100)
    prompt = tagged.question_ids("Write <tool_call> now.")
    assert not {open_id, close_id} & {*prompt}, "no text of a user becomes a tag"
    events = list(driver.drive(driver.submit(Prompt(prompt), sampling=sampling)))
    ids = written(events)
    assert ids[0] == open_id
    assert ids[-2:] == [close_id, tagged.end_id]
    text = "".join(event.text for event in events if isinstance(event, Token))
    assert text == render_tool_call(ToolCall("now", {}))
