"""The engines that the contract tests run, on the fp64 test model."""

import pytest
from transformers import PreTrainedModel

from onegen_model.engine.base import StepEngine
from onegen_model.engine.transformers import TransformersEngine
from onegen_model.transcript.renderer import Renderer
from tests.support.engines import MakeEngine, Player, World


@pytest.fixture
def world(renderer: Renderer, tiny_network: PreTrainedModel) -> World:
    return World(renderer, tiny_network.config.hidden_size)


@pytest.fixture(params=["transformers"])
def make_engine(
    request: pytest.FixtureRequest, tiny_network: PreTrainedModel, world: World
) -> MakeEngine:
    def make(**options: int) -> StepEngine:
        return {"transformers": TransformersEngine}[request.param](tiny_network, **options)

    return make


@pytest.fixture
def player(make_engine: MakeEngine, world: World) -> Player:
    return Player(make_engine(), world)
