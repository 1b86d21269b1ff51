"""A workflow that answers a comparison over two indexes: both are asked, then years are compared.

    $ python examples/08_llama_index_agent.py
    When was the director of the film Larch and Iron born? 9 July 1917
    When was the director of the film Wet Harvest born? 19 August 1931
    The older director made: Larch and Iron

Each question takes two hops inside its own answer; both are written in one batch of the model. The
years are compared by the workflow and not by the model, which at 135M compares badly.
"""

import asyncio

from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step

from onegen_integrations.llama_index import (
    OneGenEmbedding,
    OneGenLLM,
    OneGenQueryEngine,
    PassageParser,
)

HALDRIAN = {
    "Larch and Iron": "Larch and Iron is a 1947 Haldrian drama film by Sunnefa Brandvold.",
    "Sunnefa Brandvold": "Sunnefa Brandvold (born 9 July 1917) was a film director from Nordhella.",
}
TARSEVIAN = {
    "Wet Harvest": "Wet Harvest is a 1963 Tarsevian drama film directed by Tobin Aldermay.",
    "Tobin Aldermay": "Tobin Aldermay (born 19 August 1931) was a film director from Ondrel.",
}
QUESTION = "When was the director of the film {} born?"
Settings.llm, Settings.embed_model = OneGenLLM(), OneGenEmbedding()


def make_engine(texts: dict[str, str]) -> OneGenQueryEngine:
    documents = [Document(text=text, metadata={"title": title}) for title, text in texts.items()]
    index = VectorStoreIndex.from_documents(documents, transformations=[PassageParser()])
    return OneGenQueryEngine.from_index(index, similarity_top_k=1)


ENGINES = {"Larch and Iron": make_engine(HALDRIAN), "Wet Harvest": make_engine(TARSEVIAN)}


class Asked(Event):
    film: str


class Found(Event):
    film: str
    born: str


class Comparison(Workflow):
    @step
    async def plan(self, context: Context, event: StartEvent) -> Asked | None:
        for film in event.films:
            context.send_event(Asked(film=film))

    @step(num_workers=2)  # Both questions run in one batch of the model.
    async def ask(self, event: Asked) -> Found:
        response = await ENGINES[event.film].aquery(QUESTION.format(event.film))
        return Found(film=event.film, born=str(response))

    @step
    async def compare(self, context: Context, event: Found) -> StopEvent | None:
        if found := context.collect_events(event, [Found] * 2):
            for one in sorted(found, key=lambda one: one.film):
                print(f"{QUESTION.format(one.film)} {one.born}")
            earliest = min(found, key=lambda one: int(one.born.split()[-1]))
            return StopEvent(result=earliest.film)


async def main() -> None:
    film = await Comparison(timeout=600).run(films=list(ENGINES))
    print("The older director made:", film)


asyncio.run(main())
