"""What becomes of a search that brings no passage.

Nothing found at all: the answer searches no more, and its request writes the configured text, also
where earlier searches of the answer found something. A link of a chain, or one side of a
comparison, is then missing, and what the model would write in its place is made up.

Nothing new: the context holds every hit already. The model goes on with them, and may search for
something else; asking for the same text once more ends the search.
"""

from math import isnan

from onegen_model.events import Query, ScoredPassage
from onegen_model.generation.stream import EventStream
from onegen_model.inputs import EmptySearch
from onegen_model.retrieval.protocol import FailedSearch


def nothing_new(stream: EventStream, query: Query) -> EmptySearch:
    """What follows a search whose every hit is in the context."""
    return EmptySearch(ends=stream.has_asked(query))


def nothing_found(stream: EventStream, query: Query, answer: object) -> EmptySearch:
    """What follows a search that found nothing; `answer` is the retriever's."""
    if isinstance(answer, FailedSearch):
        return EmptySearch(f'The search for "{query.text}" failed: {answer.reason}', ends=False)
    return EmptySearch(_reason(stream, query, answer), ids=stream.not_found_ids)


def _reason(stream: EventStream, query: Query, answer: object) -> str:
    least = stream.request.retrieval.min_score
    limits = ""
    if least is not None:
        limits = f" with a score of at least {least:g}"
        hits = answer if isinstance(answer, list | tuple) else ()
        scores = [hit.score for hit in hits if isinstance(hit, ScoredPassage)]
        if scores := [score for score in scores if not isnan(score)]:
            limits += f" (the best score was {max(scores):.3f})"
    if query.filter:
        limits += f" under the filter {dict(query.filter)}"
    return f'Nothing was found for "{query.text}"{limits}.'
