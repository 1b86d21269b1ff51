import json
from pathlib import Path

import pytest

from onegen_model import (
    Document,
    FailedFile,
    ReadingOptions,
    UnreadableFilesError,
    read_documents,
)


def read_one(path: Path, content: bytes, options: ReadingOptions | None = None) -> Document:
    path.write_bytes(content)
    (document,) = read_documents([path], options=options)
    return document


LANGUAGES = {
    "fr": "L'été dernier, la forêt était fermée à cause de la sécheresse.",
    "de": "Grüße aus Köln. Die Straße ist für Fußgänger gesperrt.",
    "pt": "A mãe disse que não há razões para preocupações.",
    "en": "The caf\u00e9 opens at nine \u2013 it\u2019s closed on Monday.",
    "pl": "Zażółć gęślą jaźń, proszę przynieść więcej książek.",
    "cs": "Příliš žluťoučký kůň úpěl ďábelské ódy. Věděl, že v majáku bydlí strážce.",
    "hu": "Ez egy hosszabb magyar szöveg a világítótorony őréről, aki tűzifát gyűjt.",
    "tr": "Deniz fenerinin bekçisi gece boyunca ışığı yaktı, çünkü gemiler geçiyordu.",  # noqa: RUF001
    "ru": "Привет, это обычный русский текст о маяке и смотрителе.",  # noqa: RUF001
    "ja": "これは日本語の文章です。灯台守の話をします。",
}


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        ("fr", "latin-1"), ("de", "cp1252"), ("pt", "cp1252"), ("en", "cp1252"), ("pl", "cp1250"),
        ("cs", "cp1250"), ("hu", "cp1250"), ("tr", "cp1254"), ("ru", "cp1251"), ("ru", "koi8-r"),
        ("ja", "shift_jis"), ("ja", "utf-16"), ("ru", "utf-32"), ("fr", "utf-8-sig"),
        ("en", "utf-16-le"), ("de", "utf-16-be"),
    ],
)  # fmt: skip
def test_the_encoding_is_detected(here: Path, language: str, encoding: str) -> None:
    text = LANGUAGES[language]
    assert read_one(here / "a.txt", text.encode(encoding)).text == text


def test_the_encoding_can_be_forced(here: Path) -> None:
    forced = ReadingOptions(encoding="cp850")
    assert read_one(here / "a.txt", "Köln".encode("cp850"), forced).text == "Köln"
    (here / "b.txt").write_bytes("ok\nKöln".encode("latin-1"))
    with pytest.raises(UnreadableFilesError, match=r"b\.txt: it is not text in utf-8 \(line 2\)"):
        list(read_documents(["b.txt"], options=ReadingOptions(encoding="utf-8")))
    row = json.dumps({"text": "Köln"}, ensure_ascii=False).encode("cp850")
    assert read_one(here / "c.jsonl", row, forced).text == "Köln"


def test_a_file_whose_encoding_cannot_be_told_fails_alone(here: Path) -> None:
    noise = bytes(range(1, 256)) * 20
    (here / "noise.txt").write_bytes(noise)
    (here / "ok.txt").write_text("ok")
    failures: list[FailedFile] = []
    assert [doc.text for doc in read_documents(["."], on_failure=failures.append)] == ["ok"]
    assert "--encoding" in failures[0].reason
