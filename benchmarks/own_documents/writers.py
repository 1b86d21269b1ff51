"""Writes PDF, office and e-book files, with the same bytes each time."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from typing import Any

from docx import Document as Docx
from fpdf import FPDF
from openpyxl import Workbook
from pptx import Presentation
from pptx.util import Inches

from benchmarks.own_documents.blocks import Block, parse

_DAY = datetime(2031, 1, 1, tzinfo=UTC)
_MODIFIED = re.compile(rb"(<dcterms:(?:modified|created)[^>]*>)[^<]*")
Writer = Callable[[str], bytes]


def write_pdf(text: str) -> bytes:
    pdf = FPDF()
    pdf.set_creation_date(_DAY)
    pdf.add_page()
    for block in parse(text):
        _add_to_pdf(pdf, block)
    return bytes(pdf.output())


def _add_to_pdf(pdf: FPDF, block: Block) -> None:
    if block.kind == "page":
        pdf.add_page()
    elif block.kind == "table":
        pdf.set_font("helvetica", size=9)
        with pdf.table() as table:
            for cells in block.rows:
                table.row(cells)
        pdf.ln(4)
    else:
        is_heading = block.kind == "heading"
        pdf.set_font(
            "helvetica", "B" if is_heading else "", 18 - 3 * block.level if is_heading else 11
        )
        pdf.multi_cell(0, 6, block.text, new_x="LMARGIN", new_y="NEXT")
        pdf.ln(3)


def write_docx(text: str) -> bytes:
    document = Docx()
    for block in parse(text):
        if block.kind == "heading":
            document.add_heading(block.text, level=block.level)
        elif block.kind == "table":
            table = document.add_table(len(block.rows), len(block.rows[0]))
            _fill(table, block.rows)
        else:
            style = "List Bullet" if block.kind == "item" else None
            document.add_paragraph(block.text, style=style)
    return _saved(document)


def write_pptx(text: str) -> bytes:
    """A heading begins a slide."""
    presentation = Presentation()
    for title, blocks in _sections(text):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        items = [block.text for block in blocks if block.kind in ("item", "paragraph")]
        slide.placeholders[1].text = "\n".join(items)
        for block in blocks:
            if block.kind == "table":
                size = (len(block.rows), len(block.rows[0]))
                at = (Inches(1), Inches(2), Inches(8), Inches(3))
                _fill(slide.shapes.add_table(*size, *at).table, block.rows)
            if block.kind == "note":
                slide.notes_slide.notes_text_frame.text = block.text
    return _saved(presentation)


def write_xlsx(text: str) -> bytes:
    """JSON: the rows of each sheet by its name."""
    book = Workbook()
    book.remove(book.active)
    for name, rows in json.loads(text).items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return _saved(book)


def write_epub(text: str) -> bytes:
    """A heading begins a chapter."""
    chapters = {
        f"chapter{number}.xhtml": _chapter(title, blocks)
        for number, (title, blocks) in enumerate(_sections(text), start=1)
    }
    items = "".join(
        f'<item id="c{n}" href="{name}" media-type="application/xhtml+xml"/>'
        for n, name in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    package = (
        '<?xml version="1.0" encoding="utf-8"?><package xmlns="http://www.idpf.org/2007/opf" '
        'version="3.0" unique-identifier="id"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        '<dc:identifier id="id">own-1</dc:identifier><dc:title>The Lamp</dc:title>'
        "<dc:language>en</dc:language></metadata>"
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    container = (
        '<?xml version="1.0"?><container version="1.0" '
        'xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="content.opf" media-type="application/oebps-package+xml"/>'
        "</rootfiles></container>"
    )
    return _zipped(
        [
            ("mimetype", b"application/epub+zip"),
            ("META-INF/container.xml", container.encode()),
            ("content.opf", package.encode()),
            *((name, page.encode()) for name, page in chapters.items()),
        ]
    )


def _chapter(title: str, blocks: Sequence[Block]) -> str:
    body = "".join(f"<p>{escape(block.text)}</p>" for block in blocks)
    return (
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml">'
        f"<head><title>{escape(title)}</title></head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )


def _sections(text: str) -> Iterator[tuple[str, list[Block]]]:
    """What stands under each heading, by its text."""
    title = ""
    for is_heading, some in groupby(parse(text), key=lambda block: block.kind == "heading"):
        blocks = list(some)
        if is_heading:
            title = blocks[-1].text
        else:
            yield title, blocks


def _fill(table: Any, rows: Sequence[Sequence[str]]) -> None:
    for y, cells in enumerate(rows):
        for x, text in enumerate(cells):
            table.cell(y, x).text = text


def _saved(document: Any) -> bytes:
    """A zip file as the library saves it, without the time at which it did."""
    raw = io.BytesIO()
    document.save(raw)
    with zipfile.ZipFile(raw) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    day = _DAY.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    return _zipped([(name, _MODIFIED.sub(rb"\g<1>" + day, data)) for name, data in parts])


def _zipped(parts: Sequence[tuple[str, bytes]]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name, data in parts:
            # A reader tells an e-book by its first part, which is not compressed.
            kind = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, _DAY.timetuple()[:6]), data, kind)
    return raw.getvalue()


WRITERS: dict[str, Writer] = {
    ".pdf": write_pdf,
    ".docx": write_docx,
    ".pptx": write_pptx,
    ".xlsx": write_xlsx,
    ".epub": write_epub,
}
