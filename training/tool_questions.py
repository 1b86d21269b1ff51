"""Requests that a tool answers; the arguments of a call are names and dates of the request.

Names of functions and parameters vary, so that the model reads them instead of learning them; other
tools accompany the one that is called.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from silver import Fact

from onegen_model import ToolCall, render_tool_call

Tool = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of tool: names of its function, purpose, parameters by source, and requests.

    `parameters` are (name of a source, ways to name the parameter).
    """

    names: tuple[str, ...]
    purpose: str
    parameters: tuple[tuple[str, tuple[str, ...]], ...]
    requests: tuple[str, ...]


KINDS = (
    Kind(
        ("order_film", "buy_film", "request_movie", "lend_film"),
        "Order a film from the library.",
        (("film", ("title", "film", "name")),),
        ("Order the film '{film}'.", "Please get me {film}.", "I would like to see {film}."),
    ),
    Kind(
        ("find_person", "look_up_person", "search_people", "person_info"),
        "Look up a person by name.",
        (("person", ("name", "person", "full_name")),),
        ("Look up {person}.", "Find the entry of {person}.", "Show me {person}."),
    ),
    Kind(
        ("weekday", "day_of_week", "get_weekday"),
        "The day of the week of a date.",
        (("date", ("date", "day")),),
        ("On which weekday was {date}?", "What day of the week was {date}?"),
    ),
    Kind(
        ("add_contact", "create_customer", "save_person", "new_customer"),
        "Create an entry with a name and a town.",
        (
            ("person", ("name", "customer_name", "contact")),
            ("place", ("town", "city", "description")),
        ),
        (
            "Add {person} from {place}.",
            "Create a customer named '{person}' ({place}).",
            "Please save {person}, who lives in {place}.",
        ),
    ),
    Kind(
        ("get_weather", "weather", "forecast"),
        "The weather at a place.",
        (("place", ("place", "city", "location")),),
        ("What is the weather like in {place}?", "How warm is it in {place} today?"),
    ),
    Kind(
        ("calculator", "calculate", "compute"),
        "Add or subtract two whole numbers, for example 12 - 7.",
        (("sum", ("expression", "formula")),),
        ("What is {sum}?", "Calculate {sum}."),
    ),
    Kind(
        ("send_message", "write_to", "notify"),
        "Send a short message to somebody.",
        (("person", ("to", "recipient")), ("film", ("text", "message"))),
        ("Tell {person}: {film}", "Send '{film}' to {person}.", 'Write "{film}" to {person}.'),
    ),
    Kind(
        ("remind_me", "create_event", "add_reminder"),
        "Put something into the calendar.",
        (("film", ("title", "event", "what")), ("date", ("date", "when"))),
        ("Remind me of {film} on {date}.", "On {date} there is {film}: put it into my calendar."),
    ),
)
# Source of an argument -> the relations whose names (or values) it takes.
_NAMES = {"film": ("director", "publication date"), "person": ("date of birth", "date of death")}
_VALUES = {"place": ("place of birth", "place of death"), "date": ("date of birth",)}


def sources(facts: Mapping[str, Mapping[str, Fact]]) -> dict[str, list[str]]:
    """What arguments are drawn from, by source."""
    found: dict[str, set[str]] = {name: set() for name in (*_NAMES, *_VALUES)}
    for by_relation in facts.values():
        for relation, fact in by_relation.items():
            for name, relations in _NAMES.items():
                found[name] |= {fact.name} if relation in relations else set()
            for name, relations in _VALUES.items():
                found[name] |= {fact.value} if relation in relations else set()
    return {name: sorted(values) for name, values in found.items()}


def make_tool(kind: Kind, rng: random.Random) -> tuple[Tool, dict[str, str]]:
    """A tool of a kind, as OpenAI writes it, and which of its parameters each source fills."""
    named = {source: rng.choice(names) for source, names in kind.parameters}
    parameters = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in named.values()},
        "required": list(named.values()),
    }
    function = {
        "name": rng.choice(kind.names),
        "description": kind.purpose,
        "parameters": parameters,
    }
    return {"type": "function", "function": function}, named


def some_tools(rng: random.Random) -> list[Tool]:
    """One or two tools that a question has no use for."""
    return [make_tool(kind, rng)[0] for kind in rng.sample(KINDS, rng.randint(1, 2))]


def requests(
    facts: Mapping[str, Mapping[str, Fact]], rng: random.Random, count: int
) -> Iterator[dict[str, Any]]:
    """Training examples without a retrieval: a request, and the call that answers it."""
    drawn = sources(facts)
    for number in range(count):
        kind, *others = rng.sample(KINDS, rng.randint(1, 3))
        tool, named = make_tool(kind, rng)
        filled = {name: rng.choice(values) for name, values in drawn.items() if values}
        filled["sum"] = f"{rng.randint(2, 2000)} {rng.choice('+-')} {rng.randint(2, 2000)}"
        if not set(named) <= set(filled):
            continue
        tools = [tool, *(make_tool(other, rng)[0] for other in others)]
        rng.shuffle(tools)
        arguments = {parameter: filled[source] for source, parameter in named.items()}
        call = ToolCall(tool["function"]["name"], arguments)
        yield {
            "id": f"tool_{number}",
            "question": rng.choice(kind.requests).format(**filled),
            "tools": tools,
            "segments": [{"text": render_tool_call(call)}],
        }
