"""Markdown to the groups of pieces that become passages."""

from collections.abc import Iterator
from dataclasses import replace

from onegen_model.documents.splitting.blocks import parse_blocks
from onegen_model.documents.splitting.cutting import Cutter
from onegen_model.documents.splitting.measure import Measure
from onegen_model.documents.splitting.packing import Group, Packer, Path
from onegen_model.documents.splitting.pieces import Piece, joined
from onegen_model.documents.splitting.sections import MARKUP, Section, section_tree


def group_markdown(text: str, title: str, measure: Measure) -> Iterator[Group]:
    """The groups of a text, in order; each one fits a passage."""
    cutter = Cutter(text, measure)
    packer = Packer(cutter, title)
    root = section_tree(parse_blocks(text), text)
    packer.open(())
    _add(packer, root, ())
    for group in packer.finish():
        if not MARKUP.fullmatch(joined(group.pieces, text)):
            yield from _fit(group, cutter)


def _add(packer: Packer, section: Section, path: Path) -> None:
    """A section under the heading at the end of `path`; one that does not fit is taken apart."""
    if not section.has_text:
        for heading in section.headings():
            packer.add_heading(heading)
        return
    span = packer.cutter.trimmed(section.start, section.end)
    piece = packer.cutter.piece(*span) if span else None
    if piece is not None and packer.takes(section, piece):
        packer.add_section(replace(piece, section=section))
        return
    inner = (*path, section.heading) if section.heading else path
    if section.heading:
        packer.open(inner)
    for block in section.blocks:
        packer.add_block(block)
    for child in section.children:
        _add(packer, child, inner)
    if section.heading:
        packer.open(path)


def _fit(group: Group, cutter: Cutter) -> Iterator[Group]:
    """The group, or parts of it where the tokens of its pieces and title do not add up."""
    excess = _excess(group, cutter)
    if excess <= 0:
        yield group
        return
    pieces = group.pieces
    texts = [at for at, piece in enumerate(pieces) if not piece.is_heading]
    if len(texts) > 1 or (len(pieces) > 1 and not texts):
        cut = texts[-1] if texts else len(pieces) // 2
        parts = [pieces[:cut], pieces[cut:]]
    else:
        at = texts[0] if texts else 0
        shorter = shortened(pieces[at], excess, cutter)
        if len(shorter) < 2:
            yield group
            return
        parts = [(*pieces[:at], shorter[0]), (*shorter[1:], *pieces[at + 1 :])]
    for part in parts:
        yield from _fit(replace(group, pieces=part), cutter)


def _excess(group: Group, cutter: Cutter) -> int:
    text = joined(group.pieces, cutter.source)
    return cutter.measure.whole(group.title, text) - cutter.measure.max_tokens


def shortened(piece: Piece, excess: int, cutter: Cutter) -> list[Piece]:
    """A piece in two or more that have `excess` tokens less; itself where it cannot be cut."""
    parts, room = [piece], piece.tokens - excess
    while len(parts) < 2 and room > 0:
        parts = cutter.recut(piece, room)
        room = min(room - 1, room * 9 // 10)
    return parts
