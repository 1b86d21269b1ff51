"""Headings of Markdown, and reStructuredText with the headings of Markdown."""

import re

_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
_UNDERLINED = re.compile(r"^ {0,3}(\S.*?)[ \t]*\n {0,3}(?:=+|-+)[ \t]*$", re.MULTILINE)
_CODE_FENCE = re.compile(r"^ {0,3}(```|~~~).*?(^ {0,3}\1|\Z)", re.MULTILINE | re.DOTALL)
_RULE = re.compile(r"([!-/:-@\[-`{-~])\1{2,}[ \t]*")
_LOOKS_LIKE_HEADING = re.compile(r" {0,3}#")


def first_heading(text: str) -> str | None:
    """The first heading of a Markdown text, outside code."""
    prose = _CODE_FENCE.sub("", text)
    found = [found for form in (_HEADING, _UNDERLINED) if (found := form.search(prose))]
    return min(found, key=re.Match.start).group(1) if found else None


def rst_to_markdown(text: str) -> str:
    """The same text, line for line, with its section titles as "# Title".

    The level of a title follows from its adornment, in the order in which they appear.
    """
    lines = text.split("\n")
    out = [_quoted(line) for line in lines]
    styles: list[tuple[str, bool]] = []
    for number, line in enumerate(lines):
        over = _is_overline(lines, number)
        under = lines[number + 1] if number + 1 < len(lines) else ""
        if not _is_title(line, under, over, lines[number - 1] if number else ""):
            continue
        style = under[0], over
        if style not in styles:
            styles.append(style)
        level = min(styles.index(style) + 1, 6)
        out[number], out[number + 1] = f"{'#' * level} {line.strip()}", ""
        if over:
            out[number - 1] = ""
    return "\n".join(out)


def _is_overline(lines: list[str], number: int) -> bool:
    if not 0 < number < len(lines) - 1 or not _RULE.fullmatch(lines[number - 1]):
        return False
    return lines[number - 1].rstrip() == lines[number + 1].rstrip()


def _is_title(line: str, under: str, over: bool, before: str) -> bool:
    if not line.strip() or not _RULE.fullmatch(under) or _RULE.fullmatch(line):
        return False
    if len(under.rstrip()) < len(line.rstrip()):
        return False
    return over or (not line[0].isspace() and not before.strip())


def _quoted(line: str) -> str:
    """A line of code or a comment that Markdown would take for a heading."""
    return f"    {line.lstrip()}" if _LOOKS_LIKE_HEADING.match(line) else line
