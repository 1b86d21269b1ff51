"""What the random model writes as OneGenLLM, by the end of the prompt, and a tool to call."""

from typing import Any

from llama_index.core.tools import FunctionTool

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>'
TURNS = {
    "Name a town.": "Well: Alba, or <FINAL-ANSWER>Brig</FINAL-ANSWER> then.",
    "Add 2 and 3.": f"I add.\n{CALL}",
    "Add both ways.": CALL + CALL,
    "Break it.": "<tool_call>\n{not JSON\n</tool_call>",
    "5": "It is 5.",
}


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


ADD = FunctionTool.from_defaults(add)


async def last(responses: Any) -> Any:
    return [response async for response in await responses][-1]
