"""Linked texts as one page of HTML that needs nothing else: no script, no file, no request."""

import re
from collections.abc import Iterator, Sequence
from html import escape
from urllib.parse import quote

from onegen_model.events import ScoredPassage
from onegen_model.linking.entities import entity_name
from onegen_model.linking.formats import LinkedDocument
from onegen_model.linking.mentions import LinkedText, Mention

_WIKIDATA = re.compile(r"Q[1-9][0-9]*")
_WIKIPEDIA = "W:"
_LONGEST = 200  # characters of a description

_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto 12rem;
  padding: 0 1rem; }}
h2 {{ font-size: 1rem; margin: 2.5rem 0 .5rem; overflow-wrap: anywhere; }}
.text {{ white-space: pre-wrap; unicode-bidi: plaintext; overflow-wrap: anywhere; }}
.mention {{ position: relative; background: #8cf4; border-radius: .2em; }}
.mention.nil {{ background: #8884; }}
.mention > a {{ color: inherit; text-decoration: underline dotted; }}
.card {{ display: none; position: absolute; inset-inline-start: 0; top: 100%; z-index: 1;
  width: max-content; max-width: min(24rem, 80vw); padding: .5rem .75rem; font-size: .85rem;
  line-height: 1.4; text-align: start; white-space: normal; background: Canvas;
  color: CanvasText; border: 1px solid GrayText; border-radius: .4em; }}
.mention:hover > .card, .mention:focus-within > .card, .mention:focus > .card {{ display: block; }}
.candidate {{ display: block; margin: .25rem 0; }}
.entity .name {{ font-weight: bold; }}
.about {{ display: block; opacity: .8; }}
</style>
</head>
<body>
<main>
"""
_FOOT = "</main>\n</body>\n</html>\n"


def linked_page(documents: Sequence[LinkedDocument], title: str = "Linked entities") -> str:
    """The page: each text with links, and the candidates of a mention where it is pointed at."""
    parts = [_HEAD.format(title=_escape(title))]
    for one in documents:
        parts.append("<article>\n")
        if len(documents) > 1 or one.source is not None:
            parts.append(f'<h2 dir="auto">{_escape(one.name)}</h2>\n')
        # `lang` is empty because the language of the text is unknown.
        parts.append(f'<div class="text" dir="auto" lang="">{_text(one.linked)}</div>\n')
        parts.append("</article>\n")
    return "".join([*parts, _FOOT])


def entity_url(entity_id: str) -> str | None:
    """The page of an entity at Wikidata (Q42) or Wikipedia (W:Title); None for other ids."""
    if _WIKIDATA.fullmatch(entity_id):
        return f"https://www.wikidata.org/wiki/{entity_id}"
    title = entity_id.removeprefix(_WIKIPEDIA).strip().replace(" ", "_")
    if not entity_id.startswith(_WIKIPEDIA) or not title:
        return None
    return f"https://en.wikipedia.org/wiki/{quote(title, safe=':(),', errors='replace')}"


def _text(linked: LinkedText) -> str:
    parts, done = [], 0
    for one in linked.mentions:
        parts += [_escape(linked.text[done : one.start]), *_mention(one)]
        done = one.end
    return "".join([*parts, _escape(linked.text[done:])])


def _mention(mention: Mention) -> Iterator[str]:
    url = entity_url(mention.entity.passage.id) if mention.entity else None
    kind = "mention" if mention.entity else "mention nil"
    surface = _escape(mention.surface)
    if url:
        yield f'<span class="{kind}"><a href="{_escape(url)}" rel="noreferrer">{surface}</a>'
    else:  # It can be reached with the keyboard as a link can.
        yield f'<span class="{kind}" tabindex="0">{surface}'
    # A direction of its own, so that it does not count for that of the text.
    yield '<span class="card" dir="ltr" lang="en">'
    if mention.entity is None:
        yield '<span class="candidate entity"><span class="name">no entity</span></span>'
    for number, candidate in enumerate(mention.candidates):
        yield _candidate(candidate, is_entity=number == 0 and mention.entity is not None)
    yield "</span></span>"


def _candidate(scored: ScoredPassage, *, is_entity: bool) -> str:
    entity, name = scored.passage, entity_name(scored.passage)
    about = "" if entity.text == name else _shorten(entity.text)
    described = f'<bdi class="about">{_escape(about)}</bdi>' if about else ""
    return (
        f'<span class="candidate{" entity" if is_entity else ""}">'
        f'<bdi class="name">{_escape(name)}</bdi> '
        f"<bdi>{_escape(entity.id)}</bdi> {scored.score:.3f}{described}</span>"
    )


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _escape(text: str) -> str:
    # A browser reads a carriage return as a line feed, and no zero character at all.
    return escape(text).replace("\r", "&#13;").replace("\0", "\ufffd")
