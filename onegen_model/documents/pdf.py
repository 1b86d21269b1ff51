"""Pages of a PDF as Markdown: headings by the size of their letters, tables by their lines."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onegen_model.documents.failures import FileProblem
from onegen_model.documents.tables import markdown_table

# Letters that are larger than those of the text by this factor make a heading, if it is short.
_LARGER = 1.12
_LONGEST_HEADING = 160
_LEVELS = 4
_BULLET = re.compile(r"^\s*(?:[•◦▪‣●○■\u2013*·-]|\(cid:127\))\s+")
_NUMBERED = re.compile(r"^\s*(?:\d{1,3}|[a-z])[.)]\s+")
# A table has at least so many lines or boxes.
_FEWEST_EDGES = 4
# Lines of drawings, among which a search for tables would take minutes.
_MOST_EDGES = 4000
_MONOSPACED = re.compile("mono|courier|typewriter|consol|cmtt|menlo", re.IGNORECASE)
_HYPHENATED = re.compile(r"[^\W\d_][-\u00ad]\Z")
_SPACES = re.compile(r"[ \t\u00a0]+")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text and the size of its letters; `top` and `bottom` run downwards, in points.

    `is_code`: all letters are equally wide.
    """

    text: str
    size: float
    is_bold: bool
    is_code: bool
    top: float
    bottom: float
    left: float


@dataclass(frozen=True, slots=True)
class Table:
    """A table that stands in the text at `top`."""

    markdown: str
    top: float


Item = Line | Table


def pdf_pages(path: Path) -> Iterator[str]:
    """The Markdown of each page; raises FileProblem for a file that is encrypted or damaged."""
    pages = _read(path)
    if not pages:
        raise FileProblem("it is damaged: it holds no pages")
    if not any(pages):
        raise FileProblem("it holds no text, only pictures; read the text with OCR first")
    styles = _Styles.of(item for page in pages for item in page if isinstance(item, Line))
    return ("\n\n".join(_paragraphs(page, styles)) for page in pages)


def _read(path: Path) -> list[list[Item]]:
    import pdfplumber
    from pdfminer.pdfdocument import PDFEncryptionError, PDFPasswordIncorrect
    from pdfplumber.utils.exceptions import PdfminerException

    pages = []
    try:
        with pdfplumber.open(path, laparams={"all_texts": True}) as document:
            for page in document.pages:
                pages.append(_items(page))
                page.close()
    except PdfminerException as error:
        cause = error.args[0] if error.args else error
        if isinstance(cause, PDFEncryptionError | PDFPasswordIncorrect):
            raise FileProblem("it is encrypted") from error
        raise FileProblem(f"it is damaged ({cause or type(cause).__name__})") from error
    return pages


def _items(page: Any) -> list[Item]:
    """Lines in the order of reading, with each table where its first line would be."""
    tables = _tables(page)
    lines = [line for line in _lines(page.layout, page.height) if line.text]
    items: list[Item] = []
    placed = set()
    for line in lines:
        inside = next((n for n, table in enumerate(tables) if _holds(table, line)), None)
        if inside is None:
            items.append(line)
        elif inside not in placed:
            placed.add(inside)
            table = tables[inside]
            items.append(Table(markdown_table(table.extract()), table.bbox[1]))
    return items


def _tables(page: Any) -> list[Any]:
    from pdfminer.layout import LTCurve

    drawn = sum(isinstance(one, LTCurve) for one in page.layout)  # Lines and boxes are curves.
    if not _FEWEST_EDGES <= drawn <= _MOST_EDGES or len(page.edges) > _MOST_EDGES:
        return []
    return [table for table in page.find_tables() if len(table.rows) > 1 and len(table.columns) > 1]


def _holds(table: Any, line: Line) -> bool:
    left, top, right, bottom = map(float, table.bbox)
    return left - 2 <= line.left <= right and top - 2 <= (line.top + line.bottom) / 2 <= bottom + 2


def _lines(layout: Any, height: float) -> Iterator[Line]:
    from pdfminer.layout import LTChar, LTTextLine

    for element in layout:
        if isinstance(element, LTTextLine):
            letters = [one for one in element if isinstance(one, LTChar) and one.get_text().strip()]
            if letters:
                yield _line(element, letters, height)
        elif hasattr(element, "__iter__"):
            yield from _lines(element, height)


def _line(element: Any, letters: list[Any], height: float) -> Line:
    sizes = Counter(round(one.size * 2) / 2 for one in letters)
    return Line(
        text=_SPACES.sub(" ", element.get_text()).strip(),
        size=sizes.most_common(1)[0][0],
        is_bold=sum("bold" in one.fontname.lower() for one in letters) * 2 > len(letters),
        is_code=all(_MONOSPACED.search(one.fontname) for one in letters),
        top=height - element.y1,
        bottom=height - element.y0,
        left=element.x0,
    )


@dataclass(frozen=True, slots=True)
class _Styles:
    """How the text of a file is set: the size of its letters, larger sizes, and the leading."""

    body: float
    headings: tuple[float, ...]
    leading: float
    has_code: bool

    @classmethod
    def of(cls, lines: Iterable[Line]) -> "_Styles":
        letters: Counter[float] = Counter()
        of_code = 0
        steps: Counter[float] = Counter()
        before: Line | None = None
        for line in lines:
            letters[line.size] += len(line.text)
            of_code += line.is_code * len(line.text)
            if before and before.size == line.size and 0 < line.top - before.top < 3 * line.size:
                steps[round((line.top - before.top) / line.size, 1)] += 1
            before = line
        body = letters.most_common(1)[0][0] if letters else 0.0
        larger = sorted((size for size in letters if size >= body * _LARGER), reverse=True)
        leading = steps.most_common(1)[0][0] if steps else 1.2
        # A text that was typed is no code.
        return cls(body, tuple(larger), leading, of_code * 2 < letters.total())

    def sets_code(self, line: Line) -> bool:
        """Whether a line is one of code."""
        return self.has_code and line.is_code and self.level(line) is None

    def level(self, line: Line) -> int | None:
        """The level of a heading; None for text."""
        if line.size in self.headings:
            return min(self.headings.index(line.size) + 1, _LEVELS)
        is_short = len(line.text) <= _LONGEST_HEADING // 2 and line.text[-1] not in ".,;:"
        if line.is_bold and line.size >= self.body and is_short:
            return min(len(self.headings) + 1, _LEVELS)
        return None


def _paragraphs(items: list[Item], styles: _Styles) -> Iterator[str]:
    group: list[Line] = []
    for item in items:
        if group and (isinstance(item, Table) or _parts(group[-1], item, styles)):
            yield _text(group, styles)
            group = []
        if isinstance(item, Table):
            yield item.markdown
        else:
            group.append(item)
    if group:
        yield _text(group, styles)


def _parts(before: Line, line: Line, styles: _Styles) -> bool:
    """Whether a new paragraph begins with the line."""
    if styles.level(before) != styles.level(line):
        return True
    if styles.sets_code(before) or styles.sets_code(line):
        return not (styles.sets_code(before) and styles.sets_code(line))
    if _is_item(line.text):
        return True
    step = line.top - before.top
    if step < 0:  # The next column, or the next page: a sentence may go on there.
        return before.text[-1] in '.!?:;"\u201d'
    return step > styles.leading * line.size * 1.3


def _is_item(text: str) -> bool:
    return bool(_BULLET.match(text) or _NUMBERED.match(text))


def _text(lines: list[Line], styles: _Styles) -> str:
    if styles.sets_code(lines[0]):
        return _code(lines)
    text = ""
    for line in lines:
        text = _join(text, line.text) if text else line.text
    level = styles.level(lines[0])
    if level and len(text) <= _LONGEST_HEADING:
        return f"{'#' * level} {text}"
    text = _BULLET.sub("- ", text)
    return f"\\{text}" if text.startswith("#") else text  # No heading of Markdown.


def _code(lines: list[Line]) -> str:
    """Lines with their indentation: a letter is about 0.6 of its size wide."""
    left = min(line.left for line in lines)
    indented = (" " * round((line.left - left) / (0.6 * line.size)) + line.text for line in lines)
    return "\n".join(["```", *indented, "```"])


def _join(text: str, more: str) -> str:
    if _HYPHENATED.search(text) and more[0].islower():
        return text[:-1] + more
    unspaced = text[-1] >= "\u2e80" and more[0] >= "\u2e80"  # Chinese and Japanese
    return f"{text}{'' if unspaced else ' '}{more}"
