"""The sources below an answer: title, file and place of each passage, as links where possible."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from onegen_model.citations import Citation, cite
from onegen_model.cli.printable import printable
from onegen_model.events import ScoredPassage

Sources = Literal["short", "full", "none"]

# Terminals that are known to show OSC 8 links; others may print them as text.
_PROGRAMS = {"Hyper", "WarpTerminal", "WezTerm", "ghostty", "iTerm.app", "mintty", "vscode"}
_OWN_VARIABLES = ("KITTY_WINDOW_ID", "KONSOLE_VERSION", "WT_SESSION")
_FIRST_VTE = 5000


@dataclass(frozen=True, slots=True)
class SourceListing:
    """How sources are shown. Files are looked for below `root`, the folder an index lies in."""

    kind: Sources = "short"
    root: Path | None = None
    links: bool = False


def format_sources(
    found: Sequence[ScoredPassage],
    listing: SourceListing = SourceListing(),
) -> list[str]:
    """Each passage once, in the order in which the model read them; "full": with its text.

    The lines hold no control characters but those of links.
    """
    if listing.kind == "none":
        return []
    citations = cite(found)
    if not citations:
        return ["Sources: none, nothing was retrieved"]
    passages = {scored.passage.id: scored.passage for scored in reversed(found)}
    lines = ["Sources:"]
    for citation in citations:
        score = f"{citation.score:.3f}  " if listing.kind == "full" else ""
        lines.append(f"  {score}{_name(citation, listing)}")
        if listing.kind == "full":
            text = passages[citation.passage_id].text
            lines += [f"    {printable(line)}" for line in text.splitlines()]
    return lines


def _name(citation: Citation, listing: SourceListing) -> str:
    title = f"{_one_line(citation.title)} " if citation.title else ""
    if not citation.source:
        return f"{title}[{_one_line(citation.passage_id)}]"
    label = _one_line(citation.label)
    file = citation.path(listing.root) if listing.links and listing.root else None
    if file is not None:
        label = f"\x1b]8;;{file.as_uri()}\x1b\\{label}\x1b]8;;\x1b\\"
    span = citation.span
    characters = f", characters {span[0]}-{span[1]}" if span and _has_place(citation) else ""
    return f"{title}[{label}{characters}]"


def _one_line(text: str) -> str:
    """A file name may hold line breaks."""
    return " ".join(printable(text).split("\n"))


def _has_place(citation: Citation) -> bool:
    return citation.pages is not None or citation.lines is not None


def has_links(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a stream is a terminal that is known to show links, and colour is not refused."""
    known = environment.get
    if not stream.isatty() or known("NO_COLOR") or known("CI"):
        return False
    term = known("TERM", "")
    if term == "dumb" or term.startswith(("screen", "tmux")) or known("TMUX"):
        return False
    if known("TERM_PROGRAM") in _PROGRAMS or any(map(known, _OWN_VARIABLES)):
        return True
    version = known("VTE_VERSION", "")
    return term in ("xterm-kitty", "xterm-ghostty", "alacritty", "foot") or (
        version.isdigit() and int(version) >= _FIRST_VTE
    )
