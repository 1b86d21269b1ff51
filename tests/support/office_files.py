"""Files of the kinds that are converted, made for one test."""

import json
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx
from fpdf import FPDF
from pptx.util import Inches

SENTENCE = (
    "The lighthouse at Brannet was built in 1887 by the engineer Ilse Moor, who had earlier "
    "planned the harbour walls of three other towns along the northern coast. "
)


def write_pdf(path: Path, *, password: str | None = None) -> None:
    """Two pages with headings, a broken word, a list and a table."""
    pdf = FPDF()
    for number, title in enumerate(("Opening hours", "Prices"), 1):
        pdf.add_page()
        pdf.set_font("Helvetica", "B", 18)
        pdf.cell(0, 12, f"{number} {title}")
        pdf.ln(14)
        pdf.set_font("Helvetica", "", 11)
        pdf.multi_cell(0, 6, f"{SENTENCE}{SENTENCE}")
        pdf.ln(4)
        pdf.multi_cell(0, 6, "A night of moor-\ning costs 24 crowns.")
        pdf.ln(4)
        pdf.multi_cell(0, 6, "- bring a rope\n- call ahead")
        pdf.ln(4)
    with pdf.table() as table:
        for cells in (("Berth", "Price"), ("large", "24"), ("small", "12")):
            row = table.row()
            for cell in cells:
                row.cell(cell)
    if password:
        pdf.set_encryption(owner_password="owner", user_password=password)
    pdf.output(str(path))


def write_two_columns(path: Path) -> None:
    """Two columns of text under a title."""
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Times", "B", 18)
    pdf.cell(0, 12, "A study")
    pdf.ln(16)
    top = pdf.get_y()
    pdf.set_font("Times", "", 10)
    for left, name in ((15, "LEFT"), (110, "RIGHT")):
        pdf.set_xy(left, top)
        pdf.multi_cell(85, 5, f"{name} BEGINS. {SENTENCE * 3}{name} ENDS.")
    pdf.output(str(path))


def write_picture_pdf(path: Path) -> None:
    """A page without text."""
    pdf = FPDF()
    pdf.add_page()
    pdf.line(10, 10, 100, 100)
    pdf.output(str(path))


def write_docx(path: Path) -> None:
    document = docx.Document()
    document.add_heading("Lease", 0)
    document.add_heading("Notice", 1)
    document.add_paragraph("Notice is three months.")
    document.add_paragraph("by post", style="List Bullet")
    table = document.add_table(2, 2)
    for row, cells in zip(table.rows, (("Item", "Cost"), ("Rent", "900")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    document.save(str(path))


def write_pptx(path: Path) -> None:
    slides = pptx.Presentation()
    for title, body in (("Spring", "Repair the pier"), ("Budget", "Total 4,200 crowns")):
        slide = slides.slides.add_slide(slides.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
    slide.notes_slide.notes_text_frame.text = "A grant of 800 crowns."
    box = slide.shapes.add_textbox(Inches(1), Inches(5), Inches(4), Inches(1))
    box.text_frame.text = "approved in May"
    slides.save(str(path))


def write_xlsx(path: Path) -> None:
    import datetime

    book = openpyxl.Workbook()
    boats = book.active
    boats.title = "Boats"
    for row in (("Name", "Built", "Note"), ("Gull", datetime.date(1999, 5, 4), None)):
        boats.append(row)
    boats.append(("Tern", None, "a|b\nc"))
    book.create_sheet("Empty")
    crew = book.create_sheet("Crew")
    crew.append(("Who", "Age"))
    crew.append(("Ilse", 41.0))
    book.save(str(path))


def write_notebook(path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Tides\n", "Some text."]},
        {"cell_type": "code", "metadata": {}, "source": ["# no heading\n", "x = 1"], "outputs": []},
    ]
    path.write_text(
        json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells})
    )


def write_epub(path: Path) -> None:
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Blue Door</dc:title></metadata>'
        '<manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    )
    chapter = (
        '<html xmlns="http://www.w3.org/1999/xhtml"><body><h1>Arrival</h1>'
        '<p>See <a href="b.xhtml#x">later</a>.</p></body></html>'
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="O/c.opf"/></rootfiles></container>'
    )
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("META-INF/container.xml", container)
        book.writestr("O/c.opf", opf)
        book.writestr("O/a.xhtml", chapter)


HTML = """<html><head><title>Ferry &amp; times</title><style>p{}</style></head><body>
<nav><a href="/">Home</a></nav><script>alert(1)</script><h1>Ferry</h1>
<p>It leaves at <b>7:40</b> from <a href="pier.html">pier 2</a>, see
<a href="https://example.org/x">the plan</a>.</p><pre>f = a[1](b)</pre>
<table><tr><td>Day</td><td>Time</td></tr><tr><td>Mon</td><td>7:40</td></tr></table></body></html>
"""
