"""A query engine over FAISS, kept on disk and loaded again; the answer streams.

    $ python examples/07_llama_index_faiss.py
    Answer: 9 July 1917
    Source: Larch and Iron (0.87)
    Source: Sunnefa Brandvold (0.90)

FAISS keeps vectors alone; the nodes are in the folder beside it, and both come back together.
"""

import sys
import tempfile

import faiss
from llama_index.core import (
    Document,
    Settings,
    StorageContext,
    VectorStoreIndex,
    load_index_from_storage,
)
from llama_index.vector_stores.faiss import FaissVectorStore

from onegen_integrations.llama_index import (
    OneGenEmbedding,
    OneGenLLM,
    OneGenQueryEngine,
    PassageParser,
)

TEXTS = {
    "Larch and Iron": "Larch and Iron is a 1947 Haldrian drama film by Sunnefa Brandvold.",
    "Sunnefa Brandvold": "Sunnefa Brandvold (born 9 July 1917) was a film director from Nordhella.",
    "Wet Harvest": "Wet Harvest is a 1963 Tarsevian drama film directed by Tobin Aldermay.",
    "Tobin Aldermay": "Tobin Aldermay (born 19 August 1931) was a film director from Ondrel.",
}
folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()
Settings.llm = OneGenLLM()
Settings.embed_model = OneGenEmbedding()  # The same weights: they are loaded once.

dimension = Settings.llm.shared.model.dimension
store = FaissVectorStore(faiss.IndexFlatIP(dimension))  # Inner product: cosine of unit vectors.
VectorStoreIndex.from_documents(
    [Document(text=text, metadata={"title": title}) for title, text in TEXTS.items()],
    storage_context=StorageContext.from_defaults(vector_store=store),
    transformations=[PassageParser()],
).storage_context.persist(folder)

store = FaissVectorStore.from_persist_dir(folder)
storage = StorageContext.from_defaults(vector_store=store, persist_dir=folder)
index = load_index_from_storage(storage)
engine = OneGenQueryEngine.from_index(index, similarity_top_k=1, streaming=True)
response = engine.query("When was the director of the film Larch and Iron born?")

print("Answer: ", end="")
for text in response.response_gen:  # `source_nodes` fill before the answer comes.
    print(text, end="", flush=True)
print()
for found in response.source_nodes:
    print(f"Source: {found.node.metadata['title']} ({found.score:.2f})")
