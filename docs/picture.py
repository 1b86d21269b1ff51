"""Draws `docs/images/one_pass.svg` from the transition table and a real trace.

    onegen ask "What is the place of birth of the director of film The Frog Year?" \\
        --index my.index --json > docs/images/trace.jsonl
    python docs/picture.py

Each line of the trace is an event, as `onegen ask --json` prints it.
"""

import json
import sys
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from onegen_model.request import TRANSITIONS, State

IMAGES = Path(__file__).parent / "images"
WIDTH, LEFT, TOP, LINE = 940, 30, 96, 34
WRITTEN, INSERTED, QUERY, INK, FAINT = "#1f4e8c", "#2f7d4f", "#b3541e", "#20242a", "#8a919b"
FONT = "font-family='ui-monospace, Menlo, Consolas, monospace' font-size='14'"
SANS = "font-family='system-ui, Helvetica, Arial, sans-serif'"


@dataclass
class Line:
    """What was written before a query, and what was inserted behind it."""

    text: str = ""
    passages: list[str] = field(default_factory=list)
    num_inserted: int = 0
    has_query: bool = False


def read_lines(events: list[dict[str, Any]]) -> tuple[str, list[Line], dict[str, int]]:
    """The question, the lines of the transcript, and the usage of the request."""
    question, lines, usage = "", [Line()], {}
    for event in events:
        match event.get("event"):
            case None:
                question = event.get("question", question)
            case "Token":
                lines[-1].text += event["text"]
            case "RetrievalRequested":
                lines[-1].has_query = True
            case "PassagesInserted":
                lines[-1].num_inserted = event["num_tokens"]
                lines[-1].passages = [hit["passage"]["title"] for hit in event["passages"]]
                lines.append(Line())
            case "Finished":
                usage = event["usage"]
    return question, lines, usage


def text(x: float, y: float, content: str, colour: str = INK, style: str = FONT) -> str:
    return f"<text x='{x}' y='{y}' fill='{colour}' {style}>{escape(content)}</text>"


def box(x: float, y: float, width: float, colour: str, *, filled: bool) -> str:
    fill = f"fill='{colour}' fill-opacity='.12'" if filled else "fill='none'"
    return f"<rect x='{x}' y='{y}' width='{width}' height='26' rx='5' {fill} stroke='{colour}'/>"


def draw_transcript(question: str, lines: list[Line]) -> tuple[list[str], float]:
    shapes = [box(LEFT, TOP, 8.6 * len(question) + 20, INK, filled=False)]
    shapes.append(text(LEFT + 10, TOP + 18, question))
    y = TOP + LINE + 8
    for line in lines:
        for row in filter(None, line.text.splitlines()):
            width = 8.6 * len(row) + 20
            shapes += [box(LEFT, y, width, WRITTEN, filled=True), text(LEFT + 10, y + 18, row)]
            if line.has_query and row == line.text.splitlines()[-1]:
                shapes += draw_query(LEFT + width, y)
            y += LINE
        if line.has_query:
            inserted = " · ".join(line.passages) or "nothing found"
            shapes.append(box(LEFT + 28, y, 8.6 * len(inserted) + 20, INSERTED, filled=True))
            shapes.append(text(LEFT + 38, y + 18, inserted, INSERTED))
            note = f"{line.num_inserted} positions, read once, behind the same cache"
            style = f"{SANS} font-size='12'"
            shapes.append(text(LEFT + 8.6 * len(inserted) + 60, y + 17, note, FAINT, style))
            y += LINE
    return shapes, y


def draw_query(x: float, y: float) -> list[str]:
    arrow = f"<path d='M{x + 60} {y + 13} h 60' stroke='{QUERY}' marker-end='url(#arrow)'/>"
    note = "its hidden state is the query: nearest passages"
    return [
        box(x + 8, y, 50, QUERY, filled=True),
        text(x + 15, y + 18, "[RQ]", QUERY),
        arrow,
        text(x + 130, y + 17, note, QUERY, f"{SANS} font-size='12'"),
    ]


def draw_states(y: float) -> list[str]:
    """The states of a request and the events between them, from the table that the code uses."""
    places = {State.RUNNING: 105, State.AWAITING_PASSAGES: 400, State.FINISHED: 760}
    style = f"{SANS} font-size='13' text-anchor='middle'"
    small = f"{SANS} font-size='12' text-anchor='middle'"
    shapes = []
    for state, x in places.items():
        shapes.append(
            f"<rect x='{x - 75}' y='{y - 18}' width='150' height='36' rx='18' fill='none' "
            f"stroke='{INK}'/>"
        )
        shapes.append(text(x, y + 5, state.value, INK, style))
    for start, row in TRANSITIONS.items():
        for end in dict.fromkeys(row.values()):
            names = ", ".join(event.__name__ for event, after in row.items() if after is end)
            shapes += draw_edge(places[start], places[end], y, names, small)
    return shapes


def draw_edge(start: float, end: float, y: float, names: str, style: str) -> list[str]:
    if start == end:
        path, label = f"M{start - 30} {y + 18} q 30 44 60 0", (start, y + 56)
    elif end < start:
        path = f"M{start} {y + 18} C {start} {y + 62}, {end + 60} {y + 62}, {end + 60} {y + 18}"
        label = ((start + end) / 2 + 30, y + 66)
    elif end - start > 500:
        path = f"M{start} {y - 18} C {start} {y - 66}, {end} {y - 66}, {end} {y - 18}"
        label = ((start + end) / 2, y - 60)
    else:
        path, label = f"M{start + 75} {y} H {end - 79}", ((start + end) / 2, y - 8)
    line = f"<path d='{path}' fill='none' stroke='{FAINT}' marker-end='url(#grey)'/>"
    return [line, text(*label, names, FAINT, style)]


def marker(name: str, colour: str) -> str:
    return (
        f"<marker id='{name}' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' "
        f"orient='auto'><path d='M0 0 L8 4 L0 8 z' fill='{colour}'/></marker>"
    )


def draw(events: list[dict[str, Any]]) -> str:
    question, lines, usage = read_lines(events)
    transcript, y = draw_transcript(question, lines)
    bold = f"{SANS} font-size='19' font-weight='600'"
    read = usage["forwarded"] + usage["reused"]
    total = usage["prompt"] + usage["written"] + usage["inserted"]
    counts = (
        f"{total} ids in the context; {read} of them read, each once "
        "(the last is never needed); the engine counts"
    )
    shapes = [
        f"<rect width='{WIDTH}' height='100%' fill='#fbfaf7'/>",
        text(LEFT, 42, "One model, one pass", INK, bold),
        text(
            LEFT,
            68,
            "boxes in blue are written, in green inserted",
            FAINT,
            f"{SANS} font-size='13'",
        ),
        *transcript,
        text(LEFT, y + 22, counts, INK, f"{SANS} font-size='13'"),
        text(LEFT, y + 66, "States of a request, and the events between them", INK, bold),
        *draw_states(y + 158),
    ]
    height = y + 240
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0f}' role='img' "
        f"aria-label='A question answered in one pass with {sum(x.has_query for x in lines)} "
        "retrievals'>"
    )
    defs = f"<defs>{marker('arrow', QUERY)}{marker('grey', FAINT)}</defs>"
    return "\n".join([head, defs, *shapes, "</svg>"]) + "\n"


def main() -> None:
    lines = (IMAGES / "trace.jsonl").read_text(encoding="utf-8").splitlines()
    picture = draw([json.loads(line) for line in lines])
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES / "one_pass.svg"
    target.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
