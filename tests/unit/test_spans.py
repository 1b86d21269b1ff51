"""Finding a text inside another one."""

import pytest

from onegen_model.spans import count_words, span_pattern


@pytest.mark.parametrize(
    ("wanted", "text", "found"),
    [
        ("six  weeks", "At most Six\nWeeks.", "Six\nWeeks"),
        ("6 weeks", "16 weeks", None),
        ("96", "1996", None),
        ("3.1", "3.15", None),
        ("art", "start", None),
        ("$5", "US$5", "$5"),
        ("C++", "C++17", "C++"),
        ("", "anything", None),
        ("东京", "我住在东京都", "东京"),
        ("6", "第6章", "6"),
        ("ไทย", "ประเทศไทย", "ไทย"),
    ],
)
def test_a_text_is_found_as_whole_words(wanted: str, text: str, found: str | None) -> None:
    match = span_pattern(wanted).search(text)
    assert (match and match[0]) == found


def test_letters_of_scripts_without_spaces_count_as_words() -> None:
    assert count_words("Who is it?") == 3
    assert count_words("站长是谁") == 4
