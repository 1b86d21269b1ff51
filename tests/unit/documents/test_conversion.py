"""What becomes of files that are converted, in the process that converts them."""

from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pytest

from onegen_model import Document
from onegen_model.documents.reading import FileReader
from tests.support import office_files


@pytest.fixture(scope="module")
def reader() -> Iterator[FileReader]:
    with FileReader() as reader:
        yield reader


def read(reader: FileReader, path: Path) -> Document:
    (document,) = reader.read(path, path.name)
    assert document.syntax == "markdown"
    assert document.first_line is None
    return document


def pages(document: Document) -> list[str]:
    ends = [*document.pages[1:], len(document.text)]
    return [
        document.text[start:end].strip() for start, end in zip(document.pages, ends, strict=True)
    ]


def test_a_pdf_keeps_pages_headings_paragraphs_and_tables(
    reader: FileReader, tmp_path: Path
) -> None:
    office_files.write_pdf(tmp_path / "a.pdf")
    document = read(reader, tmp_path / "a.pdf")
    first, second = pages(document)
    assert first.split("\n\n") == [
        "# 1 Opening hours",
        (office_files.SENTENCE * 2).strip(),
        "A night of mooring costs 24 crowns.",
        "- bring a rope",
        "- call ahead",
    ]
    assert second.startswith("# 2 Prices\n\nThe lighthouse")
    assert second.endswith("| Berth | Price |\n| --- | --- |\n| large | 24 |\n| small | 12 |")
    assert document.title == "1 Opening hours"


def test_columns_of_a_pdf_are_read_one_after_the_other(reader: FileReader, tmp_path: Path) -> None:
    office_files.write_two_columns(tmp_path / "a.pdf")
    title, left, right = read(reader, tmp_path / "a.pdf").text.split("\n\n")
    assert title == "# A study"
    assert left.startswith("LEFT BEGINS")
    assert left.endswith("LEFT ENDS.")
    assert right.startswith("RIGHT BEGINS")


def test_docx(reader: FileReader, tmp_path: Path) -> None:
    office_files.write_docx(tmp_path / "a.docx")
    document = read(reader, tmp_path / "a.docx")
    assert document.title == "Lease"
    assert document.text == (
        "# Lease\n\n# Notice\n\nNotice is three months.\n\n* by post\n\n"
        "| Item | Cost |\n| --- | --- |\n| Rent | 900 |"
    )
    assert document.pages == ()


def test_each_slide_is_a_page(reader: FileReader, tmp_path: Path) -> None:
    office_files.write_pptx(tmp_path / "a.pptx")
    document = read(reader, tmp_path / "a.pptx")
    spring, budget = pages(document)
    assert spring == "# Spring\nRepair the pier"
    assert budget.startswith("# Budget\nTotal 4,200 crowns")
    assert "approved in May" in budget
    assert budget.endswith("Notes:\nA grant of 800 crowns.")


def test_each_sheet_is_a_page_with_a_table(reader: FileReader, tmp_path: Path) -> None:
    office_files.write_xlsx(tmp_path / "fleet.xlsx")
    document = read(reader, tmp_path / "fleet.xlsx")
    boats, empty, crew = pages(document)
    assert boats == (
        "## Boats\n\n| Name | Built | Note |\n| --- | --- | --- |\n"
        "| Gull | 1999-05-04 |  |\n| Tern |  | a\\|b c |"
    )
    assert empty == ""
    assert crew == "## Crew\n\n| Who | Age |\n| --- | --- |\n| Ilse | 41 |"
    assert document.title == "fleet"


def test_stray_cells_make_no_wide_table(reader: FileReader, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(("a", "b"))
    sheet.append((1, 2))
    sheet.cell(5, 16384, "wide")
    sheet.cell(1_048_576, 1, "far")
    book.save(str(tmp_path / "a.xlsx"))
    assert read(reader, tmp_path / "a.xlsx").text == (
        "## Sheet\n\n| a | b |  |\n| --- | --- | --- |\n| 1 | 2 |  |\n|  |  | wide |\n| far |  |  |"
    )


def test_html_is_its_content(reader: FileReader, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(office_files.HTML)
    document = read(reader, tmp_path / "a.html")
    assert document.title == "Ferry & times"
    assert document.text.startswith("# Ferry\n\nIt leaves at **7:40** from pier 2, see")
    assert "[the plan](https://example.org/x)" in document.text
    assert "f = a[1](b)" in document.text
    assert "| Day | Time |\n| --- | --- |\n| Mon | 7:40 |" in document.text
    for gone in ("Home", "alert", "p{}"):
        assert gone not in document.text


def test_html_tells_its_own_encoding(reader: FileReader, tmp_path: Path) -> None:
    page = '<html><head><meta charset="koi8-r"></head><body><p>Маяк стоит.</p></body></html>'
    (tmp_path / "a.htm").write_bytes(page.encode("koi8-r"))
    assert read(reader, tmp_path / "a.htm").text == "Маяк стоит."


def test_notebooks_and_books(reader: FileReader, tmp_path: Path) -> None:
    office_files.write_notebook(tmp_path / "a.ipynb")
    document = read(reader, tmp_path / "a.ipynb")
    assert document.text == "# Tides\nSome text.\n\n```python\n# no heading\nx = 1\n```"
    assert document.title == "Tides"
    office_files.write_epub(tmp_path / "a.epub")
    document = read(reader, tmp_path / "a.epub")
    assert document.title == "The Blue Door"
    assert document.text.endswith("# Arrival\n\nSee later.")
