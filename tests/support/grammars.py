"""Tools to call under a grammar, and an engine that can be held to one."""

from transformers import PreTrainedModel

from onegen_model.engine.constraint import GrammarCompiler
from onegen_model.engine.transformers import TransformersEngine
from tests.support.engines import World

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"x": {"$ref": "#/$defs/X"}, "y": {"type": "boolean"}},
                "required": ["x"],
                "$defs": {"X": {"type": "integer", "minimum": 0, "maximum": limit}},
            },
        },
    }
    for name, limit in (("add", 9), ("add_élan", 99))
]
TOOLS.append({"type": "function", "function": {"name": "now"}})


def make_engine(world: World, network: PreTrainedModel) -> TransformersEngine:
    compiler = GrammarCompiler(world.renderer.tokenizer, world.control)
    return TransformersEngine(network, constrain=compiler)
