"""Links the mentions of texts and documents to entities of your own.

    $ python examples/11_link_entities_langchain.py
    All texts in one batch:
    Mercury[planet] goes around the Sun in 88 days, faster than any other planet.
    Miners dissolved gold in Mercury[metal], and boiled the liquid metal away.
    Merchants of Rome[god] gave to Mercury[god], whose temple stood on the Aventine Hill[aventine].
    A document:
    mines.txt
    25-32 Mercury metal 1.09
    A mention that is given, with its candidates:
    [('god', 1.03), ('planet', 0.94), ('metal', 0.89)]

One name stands for three entities, and what is written around it decides. The text is given back
as it was, and offsets count its characters. The linker is a step of chains and a transformer of
documents, whose metadata then tell which entities they name.
"""

from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from onegen_integrations.langchain import (
    OneGenEmbeddings,
    OneGenEntityLinker,
    OneGenVectorStore,
)
from onegen_model import LinkedText, LinkingParams

MODEL = "entity-linking"
# Id, name, description: the name is the first line of what is embedded.
ENTITIES = [
    ("planet", "Mercury", "planet of the Solar System that is nearest to the Sun"),
    ("metal", "Mercury", "chemical element, a metal that is liquid at room temperature"),
    ("god", "Mercury", "Roman god of merchants, travellers and thieves"),
    ("sun", "Sun", "star in the centre of the Solar System"),
    ("gold", "Gold", "chemical element, a yellow precious metal"),
    ("aventine", "Aventine Hill", "one of the seven hills of Rome"),
]
TEXTS = [
    "Mercury goes around the Sun in 88 days, faster than any other planet.",
    "Miners dissolved gold in Mercury, and boiled the liquid metal away.",
    "Merchants of Rome gave to Mercury, whose temple stood on the Aventine Hill.",
]

store = OneGenVectorStore(OneGenEmbeddings(model=MODEL))
store.add_documents(
    [
        Document(f"{name}\n{description}", id=identifier, metadata={"title": name})
        for identifier, name, description in ENTITIES
    ]
)
linker = OneGenEntityLinker(model=MODEL, entities=store)


def show(linked: LinkedText) -> str:
    """The text with the id of its entity behind each mention."""
    shown, done = "", 0
    for mention in linked.mentions:
        identifier = mention.entity.passage.id if mention.entity else "?"
        shown += f"{linked.text[done : mention.end]}[{identifier}]"
        done = mention.end
    return shown + linked.text[done:]


print("All texts in one batch:")
for shown in (linker | RunnableLambda(show)).batch(TEXTS):
    print(shown)

print("A document:")
[document] = linker.transform_documents([Document(TEXTS[1], metadata={"source": "mines.txt"})])
print(document.metadata["source"])
for found in document.metadata["entities"]:
    place = f"{found['start']}-{found['end']}"
    print(place, found["surface"], found["id"], round(found["score"], 2))

print("A mention that is given, with its candidates:")
start = TEXTS[2].index("Mercury")
given = LinkingParams(mentions=[(start, start + len("Mercury"))], num_candidates=3)
[mention] = linker.invoke(TEXTS[2], linking=given).mentions
print([(one.passage.id, round(one.score, 2)) for one in mention.candidates])
