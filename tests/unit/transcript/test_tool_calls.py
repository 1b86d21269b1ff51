"""Tool calls read from a stream, however it is cut, and written again."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onegen_model.errors import InvalidInputError
from onegen_model.transcript.tool_calls import (
    InvalidToolCall,
    Piece,
    ToolCall,
    ToolCallParser,
    render_tool_call,
    tool_function,
    tools_text,
)

CALL = ToolCall("search", {"query": "Jørn Tolvær", "top_k": 2})
CALL_JSON = '{"name": "search", "arguments": {"query": "Jørn Tolvær", "top_k": 2}}'


def parse(*pieces: str) -> list[Piece]:
    """What all pieces say, adjacent texts joined."""
    parser = ToolCallParser()
    found = [item for piece in pieces for item in parser.feed(piece)] + parser.flush()
    joined: list[Piece] = []
    for item in found:
        if isinstance(item, str) and joined and isinstance(joined[-1], str):
            joined[-1] += item
        else:
            joined.append(item)
    return joined


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("no call", ["no call"]),
        (render_tool_call(CALL), [CALL]),
        (
            f"I look.\n{render_tool_call(CALL)}\n<tool_call>{CALL_JSON}</tool_call> Done.",
            ["I look.\n", CALL, "\n", CALL, " Done."],
        ),
        (f"\n {CALL_JSON}\n", [CALL]),
        (f"[{CALL_JSON}, {CALL_JSON}]", [CALL, CALL]),
        ('{"parameters": {}, "name": "now"}', [ToolCall("now", {})]),
        (f"<tool_call>\n{CALL_JSON}", [CALL]),  # whole, its end is missing
        (f"So: {CALL_JSON}", [f"So: {CALL_JSON}"]),
        (f"{CALL_JSON} as I said", [f"{CALL_JSON} as I said"]),
        ('{"name": "Ada", "born": 1815}', ['{"name": "Ada", "born": 1815}']),
        ("[1] says so", ["[1] says so"]),
        ("a < b, <tool, <tool_cal", ["a < b, <tool, <tool_cal"]),
        ("stray </tool_call>end", ["stray end"]),
    ],
)
def test_calls_and_text_are_parsed(text: str, expected: list[Piece]) -> None:
    assert parse(text) == expected
    assert parse(*text) == expected


def test_a_closing_tag_inside_a_string_closes_nothing() -> None:
    call = ToolCall("write", {"text": 'say "</tool_call>" \\ <tool_call>'})
    assert parse(*render_tool_call(call), " ok") == [call, " ok"]


@pytest.mark.parametrize(
    ("text", "broken", "problem"),
    [
        ('<tool_call>{"name": "a", }</tool_call>', '{"name": "a", }', "not JSON"),
        ('<tool_call>{"name": "a"}</tool_call>', '{"name": "a"}', "not a call"),
        ('<tool_call>{"arguments": {}}</tool_call>', '{"arguments": {}}', "not a call"),
        ("<tool_call>3</tool_call>", "3", "not a call"),
        ('<tool_call>{"name": "a', '{"name": "a', "not JSON"),
        ('{"name": "a", "arguments": {"b"', '{"name": "a", "arguments": {"b"', "not JSON"),
    ],
)
def test_broken_calls_name_the_error(text: str, broken: str, problem: str) -> None:
    for found in (parse(text), parse(*text)):
        (call,) = found
        assert isinstance(call, InvalidToolCall)
        assert call.text == broken
        assert problem in call.error
        assert "expected" in call.error


def test_what_follows_a_broken_call_is_read() -> None:
    text = f'<tool_call>{{"name": "a}}</tool_call> then {render_tool_call(CALL)}!'
    broken, *rest = parse(text)
    assert isinstance(broken, InvalidToolCall)
    assert rest == [" then ", CALL, "!"]
    assert parse(*text) == [broken, *rest]


def test_text_is_passed_on_at_once() -> None:
    parser = ToolCallParser()
    assert parser.feed("Hello ") == ["Hello "]
    assert parser.feed("<b> <tool") == ["<b> "]
    assert parser.feed("_call") == []
    assert parser.feed(f">{CALL_JSON}</tool_call") == []
    assert parser.feed("> and") == [CALL, " and"]
    assert parser.flush() == []
    assert ToolCallParser().feed('{"answer": 4') == ['{"answer": 4']
    assert ToolCallParser().feed('{"name": ') == []


FRAGMENTS = [
    "<tool_call>", "</tool_call>", "<tool", "_call>", "\n", " ", "text", "é😀", '"', "\\", "{", "}",
    "[", "]", ",", CALL_JSON, '{"name": "a", "arguments": {', '"</tool_call>"', '{"name":',
]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join), st.data())
@settings(max_examples=300, deadline=None)
def test_where_a_stream_is_cut_changes_nothing(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = parse(text)
    assert parse(*text) == parse(*pieces) == whole
    assert not any(
        tag in item
        for item in whole
        if isinstance(item, str)
        for tag in ("<tool_call>", "</tool_call>")
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.text(min_size=1), st.dictionaries(st.text(), JSON, max_size=3))
@settings(max_examples=100, deadline=None)
def test_a_rendered_call_is_read_back(name: str, arguments: dict[str, object]) -> None:
    call = ToolCall(name, arguments)
    assert parse(render_tool_call(call)) == [call]


def test_the_system_text_shows_every_tool() -> None:
    tools = [
        {"type": "function", "function": {"name": name, "description": "désc", "parameters": {}}}
        for name in ("search", "now")
    ]
    text = tools_text(tools)
    for tool in tools:
        assert json.dumps(tool, ensure_ascii=False) in text.splitlines()
    assert "<tool_call>\n" in text


def test_something_else_than_a_tool_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no function with a name; expected"):
        tool_function({"name": "search"})


@pytest.mark.parametrize("form", ["<tool_call>{}</tool_call>", "{}"])
def test_half_a_surrogate_pair_never_reaches_a_tool(form: str) -> None:
    written = form.replace("{}", r'{"name": "search", "arguments": {"query": ["\ud83d"]}}')
    (piece,) = parse(written)
    assert not isinstance(piece, ToolCall)
    text = piece.text if isinstance(piece, InvalidToolCall) else piece
    assert r"\ud83d" in text
    assert not isinstance(piece, InvalidToolCall) or "lone surrogate" in piece.error
