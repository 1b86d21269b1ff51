"""Tools, a schema, and turns of a scripted model that calls them."""

from langchain_core.tools import tool
from pydantic import BaseModel

ADD = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


TURNS = {
    "One and two?": f"Let me see.\n{ADD}",
    "Twice?": f"{ADD}\n{ADD.replace('2', '3')}",
    "Broken?": 'So:\n<tool_call>\n{"name": "add", "arguments": {"a": 1,}\n</tool_call>',
    "Bare?": '{"name": "add", "arguments": {"a": 1, "b": 2}}',
    "How old is Alba?": f"Who founded Alba?[RQ]Ann did.\n{ADD}",
    # The results of tools are the end of the prompt.
    "the sum is 3": "I see.[RQ]<FINAL-ANSWER>It is 3</FINAL-ANSWER>",
}


@tool
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return f"the sum is {a + b}"


@tool
def greet(name: str) -> str:
    """Say hello."""
    return f"Hello {name}"


class Town(BaseModel):
    """A town."""

    name: str
    age: int | None = None


SCHEMA = {
    "title": "Town",
    "description": "A town.",
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
