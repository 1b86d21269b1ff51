"""Kinds of article, and the fields of facts that each kind may have.

A field's type is `words`, `year`, `number`, `date`, or the kinds of the article that it names;
`a|b` is either, `[a]` is a list. `winners` is a list of a year, a person and, if known, a work.
"""

from collections.abc import Mapping

PLACED = {"country": "country"}
# `bare` names take no "the"; `more` is what was written for this article alone.
COMMON = {"name": "words", "qual": "words", "title": "words", "aliases": "[words]"}
COMMON |= {"bare": "words", "more": "words"}

KINDS: Mapping[str, Mapping[str, str]] = {
    "country": {"demonym": "words", "capital": "town", "population": "number", "union": "year"},
    "river": PLACED | {"length": "number", "source": "words", "mouth": "town", "joins": "river"},
    "landform": PLACED
    | {"type": "words", "height": "number", "area": "number", "depth": "number"}
    | {"climber": "person", "climbed": "year"},
    "town": PLACED | {"type": "words", "river": "river", "founded": "year", "population": "number"},
    "person": PLACED
    | {"sex": "words", "job": "words", "born": "date", "died": "date", "cause": "words"}
    | {"birthplace": "town|landform", "deathplace": "town", "educated": "university"}
    | {"father": "person", "mother": "person", "spouse": "person", "sibling": "person"},
    "film": PLACED
    | {"year": "year", "genre": "words", "director": "person", "stars": "[person]"}
    | {"composer": "person", "writer": "person", "based_on": "work", "company": "company"}
    | {"subject": "person|ship"},
    "work": PLACED
    | {"type": "words", "author": "person|band", "illustrator": "person", "year": "year"},
    "band": {"type": "words", "seat": "town", "founded": "year", "ended": "year"}
    | {"members": "[person]"},
    "company": {"type": "words", "founder": "person|words", "founded": "year", "ended": "year"}
    | {"seat": "town"},
    "ship": {"type": "words", "builder": "company", "owner": "company", "captain": "person"}
    | {"launched": "year", "lost": "year", "place": "landform", "named_for": "person"},
    "prize": PLACED
    | {"type": "words", "founded": "year", "givers": "words", "giver_person": "person"}
    | {"named_for": "person", "winners": "winners"},
    "journal": {"type": "words", "founder": "person|words", "founded": "year", "ended": "year"}
    | {"seat": "town"},
    "university": {"type": "words", "seat": "town", "founded": "year"},
    "building": PLACED
    | {"type": "words", "seat": "town", "site": "landform", "river": "river", "built": "year"}
    | {"architect": "person", "giver": "person"},
    "event": PLACED
    | {"type": "words", "place": "town", "start": "town", "river": "river", "year": "year"}
    | {"leader": "person", "winner": "ship", "ship": "ship"},
    "foreign": PLACED
    | {"lang": "words", "text": "words", "seat": "town", "author": "person", "year": "year"}
    | {"built": "year", "founded": "year", "area": "number", "depth": "number"}
    | {"population": "number", "born": "date", "died": "date", "birthplace": "town"},
}

# A fact that follows from another one, so that it is written once.
FOLLOWS: Mapping[str, Mapping[str, str]] = {
    "band": {"country": "seat.country"},
    "company": {"country": "seat.country"},
    "journal": {"country": "seat.country"},
    "university": {"country": "seat.country"},
    "building": {"country": "seat.country"},
    "event": {"country": "place.country"},
    "ship": {"country": "builder.seat.country"},
}
