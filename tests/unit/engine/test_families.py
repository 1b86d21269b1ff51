"""The slot cache under every architecture: what it reads equals one clean forward."""

import random
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import MambaConfig, MambaForCausalLM, PreTrainedModel, T5Config
from transformers import T5ForConditionalGeneration as T5

from onegen_model.engine.attention import AttentionPattern
from onegen_model.engine.forward import Chunk, SlotNetwork
from onegen_model.engine.probe import probe
from onegen_model.engine.transformers import TransformersEngine
from onegen_model.errors import CheckpointError
from onegen_model.network import context_length
from onegen_model.transcript.renderer import Renderer
from tests.conftest import FAMILIES, MakeNetwork
from tests.support.engines import QUESTIONS, Player, World, check_clean, clean_read

# Eager attention takes its softmax in fp32 whatever the model's type is.
TOLERANCE = {"sdpa": 1e-10, "eager": 1e-5}


# Gemma 2 caps its scores, which only the eager attention can do.
KINDS = [
    (family, attention)
    for family in FAMILIES
    for attention in TOLERANCE
    if (family, attention) != ("gemma2", "sdpa")
]


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize(("family", "attention"), KINDS)
def test_chunks_equal_a_clean_forward(
    make_network: MakeNetwork, family: str, tied: bool, attention: str
) -> None:
    # As many learned positions as ids, so that padding beyond them would be noticed.
    shape = {"n_positions": 50} if family == "gpt2" else {}
    network = make_network(family, tied=tied, attn_implementation=attention, **shape)
    slotted = SlotNetwork(network)
    slotted.cache.resize(4, 64)
    draw = random.Random(family)
    sequences = [[draw.randrange(300) for _ in range(50)] for _ in range(4)]
    clean = [clean_read(network, ids) for ids in sequences]
    lengths = [0] * 4
    with torch.inference_mode():
        for _ in range(24):
            slots = draw.sample(range(4), draw.randint(1, 4))
            if draw.random() < 0.5:
                slots.sort()
            sizes = [draw.choice((1, 1, 3, 11)) for _ in slots]
            if draw.random() < 0.4:
                sizes = [1] * len(slots)
            stops = [min(50, lengths[s] + n) for s, n in zip(slots, sizes, strict=True)]
            chunks = [
                Chunk(s, lengths[s], sequences[s][lengths[s] : stop])
                for s, stop in zip(slots, stops, strict=True)
                if stop > lengths[s]
            ]
            if not chunks:
                continue
            readout = slotted.read(chunks, range(len(chunks)))
            for row, chunk in enumerate(chunks):
                lengths[chunk.slot] = end = chunk.start + len(chunk.ids)
                for seen, whole in zip(
                    (readout.hidden, readout.logits), clean[chunk.slot], strict=True
                ):
                    assert (seen[row] - whole[end - 1]).abs().max() < TOLERANCE[attention]
    assert min(lengths) > 7, "a window should have been left behind"


@pytest.mark.parametrize("family", FAMILIES)
def test_requests_equal_a_clean_forward(
    make_network: MakeNetwork, renderer: Renderer, family: str
) -> None:
    network = make_network(family)
    world = World(renderer, network.config.hidden_size)
    player = Player(TransformersEngine(network), world)
    requests = [
        world.request(n, question, mode="always" if n % 2 else "auto")
        for n, question in enumerate(QUESTIONS)
    ]
    for request, events in zip(requests, player.run(*requests), strict=True):
        check_clean(network, world, request, events)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), st.sampled_from(["auto", "always", "never"])),
        st.tuples(st.just("follow"), st.integers(0, 9)),
        st.tuples(st.just("step"), st.integers(1, 6)),
        st.tuples(st.just("answer"), st.integers(0, 9)),
        st.tuples(st.just("finish"), st.integers(0, 9)),
    ),
    min_size=4,
    max_size=30,
)


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(operations=OPERATIONS, chunk=st.sampled_from([6, 40, 2048]), positions=st.integers(0, 600))
def test_any_schedule_is_clean(
    networks: dict[str, PreTrainedModel],
    renderer: Renderer,
    family: str,
    operations: list[tuple],
    chunk: int,
    positions: int,
) -> None:
    network = networks[family]
    world = World(renderer, network.config.hidden_size)
    engine = TransformersEngine(
        network,
        max_chunk_tokens=chunk,
        max_requests=3,
        max_cache_bytes=positions * 2 * 2 * 2 * 16 * 8,
    )
    player = Player(engine, world)
    for name, *arguments in operations:
        _play(player, name, *arguments)
    player.run()
    for number, request in player.requests.items():
        check_clean(network, world, request, player.events[number])


@pytest.fixture(scope="module")
def networks(make_network: MakeNetwork) -> dict[str, PreTrainedModel]:
    return {family: make_network(family) for family in ("llama", "gemma3_text")}


def _play(player: Player, name: str, number: int, mode: str = "") -> None:
    world, count = player.world, len(player.requests)
    alive = [n for n, events in player.events.items() if not _has_finished(events)]
    if name in ("add", "follow") and not player.engine.has_room:
        return
    if name == "add":
        player.add(world.request(count, QUESTIONS[number], mode=mode, max_new_tokens=9))
    elif name == "follow" and count > number:
        before = player.requests[number].ids
        ids = [*before, *world.renderer.next_question_ids(QUESTIONS[2], before)]
        if len(ids) < 300:
            player.add(world.request(count, ids, max_new_tokens=7))
    elif name == "step":
        for _ in range(number):
            player.step()
    elif name == "answer" and player.awaiting:
        player.answer(player.awaiting[number % len(player.awaiting)])
    elif name == "finish" and alive:
        player.finish(alive[number % len(alive)])


def _has_finished(events: list) -> bool:
    return bool(events) and type(events[-1]).__name__ == "Finished"


def test_a_prompt_longer_than_the_window(make_network: MakeNetwork, renderer: Renderer) -> None:
    network = make_network("mistral", sliding_window=5)
    world = World(renderer, network.config.hidden_size)
    engine = TransformersEngine(network, max_chunk_tokens=16)
    request = world.request(0, QUESTIONS[3], mode="always")
    (events,) = Player(engine, world).run(request)
    check_clean(network, world, request, events)


def test_recurrent_models_are_refused() -> None:
    config = MambaConfig(vocab_size=64, hidden_size=32, state_size=4, num_hidden_layers=1)
    with pytest.raises(CheckpointError, match="recurrent"):
        AttentionPattern.of(MambaForCausalLM(config))


def test_encoders_are_refused() -> None:
    config = T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    with pytest.raises(CheckpointError, match="encoder"):
        AttentionPattern.of(T5(config))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"layer_types": ["linear_attention", "full_attention"]}, "linear_attention"),
        ({"attention_chunk_size": 8}, "chunked"),
        ({"num_kv_shared_layers": 1}, "share"),
        ({"use_bidirectional_attention": True}, "bidirectional"),
        ({"_attn_implementation_internal": "flash_attention_2"}, "flash_attention_2"),
    ],
)
def test_what_the_cache_cannot_serve_is_refused(
    make_network: MakeNetwork, change: dict, match: str
) -> None:
    network = make_network("llama")
    for name, value in change.items():
        object.__setattr__(network.config, name, value)
    with pytest.raises(CheckpointError, match=match):
        AttentionPattern.of(network)


def test_a_network_that_ignores_positions_is_found_out(make_network: MakeNetwork) -> None:
    network = make_network("llama")
    probe(network)
    rotate = network.model.rotary_emb.forward
    network.model.rotary_emb.forward = lambda x, position_ids: rotate(
        x, position_ids - position_ids[:, :1]
    )
    with pytest.raises(CheckpointError, match="hidden states agree"):
        probe(network)


def test_a_network_that_takes_no_positions_is_found_out(make_network: MakeNetwork) -> None:
    network = make_network("llama")

    def refuse(*args: object, **kwargs: object) -> None:
        raise TypeError("unexpected keyword argument")

    network.model.forward = refuse
    with pytest.raises(CheckpointError, match="unexpected keyword"):
        probe(network)


def test_positions_that_depend_on_the_length_bound_the_context() -> None:
    plain = SimpleNamespace(max_position_embeddings=4096, rope_parameters={"rope_type": "llama3"})
    assert context_length(plain) == 4096
    stretched = {"rope_type": "longrope", "original_max_position_embeddings": 512}
    long = SimpleNamespace(max_position_embeddings=4096, rope_parameters=stretched)
    assert context_length(long) == 512
