"""The entities of texts: in the metadata of nodes, and as a property graph.

    $ python examples/12_link_entities_llama_index.py
    cinema:
      0-17 Sunnefa Brandvold -> director (1.04)
      36-47 Wet Harvest -> film (0.91)
    sea:
      14-25 Wet Harvest -> ship (0.96)
      31-37 Ondrel -> port (0.96)
      49-57 Tarsevia -> country (0.89)
    Triplets:
      cinema -> MENTIONS -> Sunnefa Brandvold (director): film director, born in 1917
      cinema -> MENTIONS -> Wet Harvest (film): 1947 drama film directed by Sunnefa Brandvold
      sea -> MENTIONS -> Ondrel (port): port on the coast of Tarsevia
      sea -> MENTIONS -> Tarsevia (country): country in the south
      sea -> MENTIONS -> Wet Harvest (ship): steamship, built in Ondrel and lost in 1902

Two entities have the same name; the text around a mention decides. Both components share one model
and one index of entities.
"""

from llama_index.core import Document, PropertyGraphIndex
from llama_index.core.ingestion import IngestionPipeline

from onegen_integrations.llama_index import (
    OneGenEmbedding,
    OneGenEntityExtractor,
    OneGenGraphExtractor,
    PassageParser,
)
from onegen_integrations.shared import shared_model
from onegen_model import Passage, PassageIndex

MODEL = "entity-linking"
ENTITIES = [
    Passage("film", "1947 drama film directed by Sunnefa Brandvold", "Wet Harvest"),
    Passage("ship", "steamship, built in Ondrel and lost in 1902", "Wet Harvest"),
    Passage("director", "film director, born in 1917", "Sunnefa Brandvold"),
    Passage("port", "port on the coast of Tarsevia", "Ondrel"),
    Passage("country", "country in the south", "Tarsevia"),
]
TEXTS = {
    "cinema": "Sunnefa Brandvold directed the film Wet Harvest.",
    "sea": "The steamship Wet Harvest left Ondrel, a port in Tarsevia, and was never seen again.",
}
entities = PassageIndex.build(shared_model(MODEL), ENTITIES)
parser = PassageParser(OneGenEmbedding(model=MODEL))
extractor = OneGenEntityExtractor(model=MODEL, entities=entities, show_progress=False)

documents = [Document(id_=name, text=text) for name, text in TEXTS.items()]
nodes = IngestionPipeline(transformations=[parser, extractor]).run(documents=documents)
for node in nodes:
    print(f"{node.ref_doc_id}:")
    for one in node.metadata["entities"]:
        print(f"  {one['start']}-{one['end']} {one['surface']} -> {one['id']} ({one['score']:.2f})")

graph = PropertyGraphIndex(
    nodes=nodes,
    kg_extractors=[OneGenGraphExtractor(model=MODEL, entities=entities)],
    embed_kg_nodes=False,
)
print("Triplets:")
found = graph.property_graph_store.get_triplets(relation_names=["MENTIONS"])
lines = [
    f"  {source.properties['ref_doc_id']} -> {relation.label} -> {target.id}: "
    f"{target.properties['description']}"
    for source, relation, target in found
]
print("\n".join(sorted(lines)))
