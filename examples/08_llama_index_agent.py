"""A workflow that answers a comparison over two indexes: both are asked, then years are compared.

    $ python examples/08_llama_index_agent.py
    When was the director of the film The Blue Door born? 4 May 1921
    When was the director of the film Winter Harbour born? 19 June 1930
    The older director made: The Blue Door

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

SWEDISH = {
    "The Blue Door": "The Blue Door is a 1962 Swedish drama film directed by Ada Lindqvist.",
    "Ada Lindqvist": "Ada Lindqvist (born 4 May 1921) was a Swedish film director from Lund.",
}
NORWEGIAN = {
    "Winter Harbour": "Winter Harbour is a 1974 Norwegian thriller film by Olav Brekke.",
    "Olav Brekke": "Olav Brekke (born 19 June 1930) was a Norwegian director from Bergen.",
}
QUESTION = "When was the director of the film {} born?"
Settings.llm, Settings.embed_model = OneGenLLM(), OneGenEmbedding()


def make_engine(texts: dict[str, str]) -> OneGenQueryEngine:
    documents = [Document(text=text, metadata={"title": title}) for title, text in texts.items()]
    index = VectorStoreIndex.from_documents(documents, transformations=[PassageParser()])
    return OneGenQueryEngine.from_index(index, similarity_top_k=1)


ENGINES = {"The Blue Door": make_engine(SWEDISH), "Winter Harbour": make_engine(NORWEGIAN)}


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
    told = await Comparison(timeout=600).run(films=list(ENGINES))
    print("The older director made:", told)


asyncio.run(main())
