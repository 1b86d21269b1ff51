"""Finding a text inside another one: as whole words, in any case and spacing."""

import re

# Thai to Khmer, kana, Han and Hangul: what is written without spaces, or with endings attached.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"
_LETTER = rf"[^\W{_UNSPACED}]"


def span_pattern(wanted: str) -> re.Pattern[str]:
    """Finds `wanted` where it is no part of a longer word or number; nothing for a blank text.

    Words of scripts without spaces have no borders, and are found anywhere.
    """
    words = wanted.split()
    if not words:
        return re.compile(r"(?!)")
    before = rf"(?<!{_LETTER})" if re.match(_LETTER, words[0]) else ""
    after = rf"(?!{_LETTER})" if re.match(_LETTER, words[-1][-1]) else ""
    spaced = r"\s+".join(map(re.escape, words))
    return re.compile(f"{before}{spaced}{after}", re.IGNORECASE)


def count_words(text: str) -> int:
    """Words; in scripts without spaces each letter counts as one."""
    return len(re.findall(rf"[{_UNSPACED}]|{_LETTER}+", text))
