"""The titles of passages: the way through the headings, "Handbook > Leave > Parental leave"."""

from collections.abc import Sequence
from dataclasses import dataclass

from onegen_model.documents.splitting.measure import CHARS_PER_TOKEN, Measure
from onegen_model.documents.splitting.sections import Heading

# A title takes at most this share of a passage.
TITLE_SHARE = 3
_STEP, _LEFT_OUT = " > ", "…"


@dataclass(frozen=True, slots=True)
class Title:
    """A title, and the positions of the headings that stand in it as they are."""

    text: str
    kept: frozenset[int]


def title_of(document_title: str, path: Sequence[Heading], measure: Measure) -> Title:
    """The title of the document and the headings; outer ones are left out where it is too long."""
    own = " ".join(document_title[: measure.max_tokens * CHARS_PER_TOKEN].split())
    names = [(own, None), *((one.text, one) for one in path)]
    if path and _letters(path[0].text).startswith(_letters(own)):
        del names[0]  # "Handbook > Handbook of the ferry" would say it twice.
    names = [(name, heading) for name, heading in names if name]
    longest = measure.max_tokens // TITLE_SHARE
    for skipped in range(max(len(names) - 1, 1)):
        # The first name stays as long as there is another one to leave out.
        shown = [*names[:1], (_LEFT_OUT, None), *names[1 + skipped :]] if skipped else names
        if fits := _fitting(shown, longest, measure):
            return fits
    return _fitting(names[-1:], longest, measure) or Title(
        shorten(names[-1][0], longest, measure), frozenset()
    )


def _fitting(
    names: Sequence[tuple[str, Heading | None]], longest: int, measure: Measure
) -> Title | None:
    text = _STEP.join(name for name, _ in names)
    if measure.count(text) > longest:
        return None
    return Title(text, frozenset(one.start for _, one in names if one and one.is_plain))


def shorten(title: str, longest: int, measure: Measure) -> str:
    """The first words of a title, at most `longest` tokens."""
    words = title[: longest * CHARS_PER_TOKEN].split()
    while words and measure.count_tokens(" ".join(words)) > longest:
        words = words[: len(words) * 3 // 4]
    return " ".join(words)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()
