"""Converts one file to Markdown, in the process of the converter."""

import io
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from onegen_model.documents.decoding import decode
from onegen_model.documents.failures import FileProblem
from onegen_model.documents.kinds import PACKED
from onegen_model.documents.tables import markdown_table

# Converts the bytes of a file; the text of each page, or one text, and the title.
Pages = tuple[list[str], str | None]

_SLIDE = re.compile(r"^<!-- Slide number: \d+ -->[ \t]*\n", re.MULTILINE)
_NOTES = re.compile(r"^### Notes:[ \t]*$", re.MULTILINE)
_CODE = re.compile(r"^(?:```|~~~).*?^(?:```|~~~)[ \t]*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
# A picture, or a link to a part of the same book: nothing that a reader of the text can follow.
_LOCAL_LINK = re.compile(
    r"!\[([^\]]*)\]\([^)\n]*\)|(?<!!)\[([^\]\n]+)\]\((?![a-z]+:)[^)\s]*\.x?html?(?:#[^)\s]*)?\)"
    r"|(?<!!)\[([^\]\n]+)\]\(#[^)\s]*\)"
)
# A table without a header: its first row becomes one.
_NO_HEADER = re.compile(r"^\|(?:[ \t]*\|)+\n(\|(?:[ \t]*-+[ \t]*\|)+)\n(\|.*)$", re.MULTILINE)
_DOCX_STYLES = "p[style-name='Title'] => h1:fresh"
_PAGED = (".pdf", ".pptx", ".xlsx")
_DECLARED = re.compile(rb"""charset\s*=\s*["']?\s*([\w.:-]+)|encoding\s*=\s*["']([\w.:-]+)""")
_NOT_TEXT = "script style template noscript nav svg iframe object [role=navigation]"


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """The text, title and page starts of a file; raises FileProblem, or what a library raises."""
    path, suffix = Path(request["path"]), request["suffix"]
    if suffix in PACKED:
        _check_unpacked(path, request["max_bytes"])
    pages, title = _CONVERTERS[suffix](path, request["encoding"])
    text, starts = join_pages(pages)
    if len(text) > request["max_characters"]:
        raise FileProblem(f"its text has more than {request['max_characters']} characters")
    text = text.encode("utf-8", "replace").decode()  # Half of a surrogate pair.
    return {"text": text, "title": title, "pages": starts if suffix in _PAGED else []}


def join_pages(pages: Iterable[str]) -> tuple[str, list[int]]:
    """One text, and the position at which each page begins; an empty page takes no room."""
    text, starts = "", []
    for page in map(str.strip, pages):
        if page and text:
            text += "\n\n"
        starts.append(len(text))
        text += page
    return text, starts


def _check_unpacked(path: Path, most: int) -> None:
    try:
        with zipfile.ZipFile(path) as packed:
            entries = packed.infolist()
    except zipfile.BadZipFile as error:
        with path.open("rb") as file:
            encrypted = file.read(4) == b"\xd0\xcf\x11\xe0"  # An OLE file around the packed one.
        what = "encrypted, or of an older format" if encrypted else "damaged"
        raise FileProblem(f"it is {what}") from error
    if any(entry.flag_bits & 1 for entry in entries):
        raise FileProblem("it is encrypted")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > most:
        raise FileProblem(
            f"it has {unpacked} bytes when it is unpacked; at most {most} are read (max_file_bytes)"
        )


def _html(path: Path, encoding: str | None) -> Pages:
    data = path.read_bytes()
    found = _DECLARED.search(data[:2048])
    declared = (found.group(1) or found.group(2)).decode("ascii", "ignore") if found else None
    text, title = html_to_markdown(decode(data, encoding, declared=declared))
    return [text], title


def html_to_markdown(html: str) -> tuple[str, str | None]:
    """The content of a page without its scripts and menus, and its title."""
    from bs4 import BeautifulSoup
    from markitdown.converters import HtmlConverter

    soup = BeautifulSoup(html, "html.parser")
    title = soup.title.get_text(" ", strip=True) if soup.title else None
    for element in soup.select(",".join(_NOT_TEXT.split())):
        element.decompose()
    for link in soup.find_all("a"):
        target = str(link.get("href") or "")
        if not target.startswith(("http://", "https://", "mailto:")):
            link.unwrap()
    for image in soup.find_all("img"):
        image.replace_with(f" {image.get('alt') or ''} ")
    text = HtmlConverter().convert_string(str(soup)).markdown
    return _NO_HEADER.sub(r"\2\n\1", text), title or None


def _docx(path: Path, _: str | None) -> Pages:
    from markitdown.converters import DocxConverter

    return [_clean(_with(DocxConverter(), path, style_map=_DOCX_STYLES).markdown)], None


def _epub(path: Path, _: str | None) -> Pages:
    from markitdown.converters import EpubConverter

    result = _with(EpubConverter(), path)
    return [_clean(result.markdown)], result.title


def _ipynb(path: Path, encoding: str | None) -> Pages:
    from markitdown import StreamInfo
    from markitdown.converters import IpynbConverter

    data = io.BytesIO(decode(path.read_bytes(), encoding).encode())
    result = IpynbConverter().convert(data, StreamInfo(extension=".ipynb", charset="utf-8"))
    return [result.markdown], result.title


def _pptx(path: Path, _: str | None) -> Pages:
    from markitdown.converters import PptxConverter

    text = _clean(_with(PptxConverter(), path).markdown)
    return _SLIDE.split(_NOTES.sub("Notes:", text))[1:], None


def _xlsx(path: Path, _: str | None) -> Pages:
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        return list(map(_sheet, book.worksheets)), path.stem
    finally:
        book.close()


def _sheet(sheet: Any) -> str:
    # One stray cell far away would make every row as wide as that.
    sheet.reset_dimensions()
    table = markdown_table(_plain(row) for row in sheet.iter_rows(values_only=True))
    return f"## {sheet.title}\n\n{table}" if table else ""


def _plain(row: Iterable[object]) -> list[object]:
    return list(map(_value, row))


def _value(value: object) -> object:
    """A date without a time of day, and a whole number, as a reader of the sheet sees them."""
    import datetime

    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat(" ", "minutes")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return value


def _pdf(path: Path, _: str | None) -> Pages:
    from onegen_model.documents.pdf import pdf_pages

    return list(pdf_pages(path)), None


def _with(converter: Any, path: Path, **options: Any) -> Any:
    from markitdown import StreamInfo

    with path.open("rb") as file:
        return converter.convert(file, StreamInfo(extension=path.suffix.lower()), **options)


def _clean(text: str) -> str:
    """Tables with a header row, and of local links their text only, outside code."""
    text = _NO_HEADER.sub(r"\2\n\1", text)
    parts, end = [], 0
    for code in _CODE.finditer(text):
        parts += [_LOCAL_LINK.sub(_text_of, text[end : code.start()]), code.group()]
        end = code.end()
    return "".join([*parts, _LOCAL_LINK.sub(_text_of, text[end:])])


def _text_of(link: re.Match[str]) -> str:
    return next(filter(None, link.groups()), "")


_CONVERTERS: dict[str, Callable[[Path, str | None], Pages]] = {
    ".pdf": _pdf,
    ".docx": _docx,
    ".pptx": _pptx,
    ".xlsx": _xlsx,
    ".html": _html,
    ".htm": _html,
    ".xhtml": _html,
    ".epub": _epub,
    ".ipynb": _ipynb,
}
