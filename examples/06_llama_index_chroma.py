"""A query engine over Chroma that is kept on disk, and opened again without embedding anything.

    $ python examples/06_llama_index_chroma.py
    Answer: Ondrel
    Who is the director of Wet Harvest? -> Wet Harvest (0.91)
    Where was Tobin Aldermay born? -> Tobin Aldermay (0.91)
    Read: 141 positions, of them written: 49

The model wrote the queries, and its own states behind them are their embeddings: no text is
embedded for a search. "Read" counts the prompt, the passages and the written tokens, each once.
"""

import sys
import tempfile

import chromadb
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.vector_stores.chroma import ChromaVectorStore

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
embedding = OneGenEmbedding()


def open_store() -> ChromaVectorStore:
    client = chromadb.PersistentClient(folder)
    collection = client.get_or_create_collection("films", metadata={"hnsw:space": "cosine"})
    return ChromaVectorStore(chroma_collection=collection)


VectorStoreIndex.from_documents(
    [Document(text=text, metadata={"title": title}) for title, text in TEXTS.items()],
    storage_context=StorageContext.from_defaults(vector_store=open_store()),
    transformations=[PassageParser(embedding)],  # The title becomes the first line of a passage.
    embed_model=embedding,
)

index = VectorStoreIndex.from_vector_store(open_store(), embed_model=embedding)
engine = OneGenQueryEngine.from_index(index, llm=OneGenLLM(), similarity_top_k=1)
response = engine.query("Where was the director of the film Wet Harvest born?")

print("Answer:", response)
for hop, found in zip(response.metadata["hops"], response.source_nodes, strict=True):
    print(f"{hop['query']} -> {found.node.metadata['title']} ({found.score:.2f})")
usage = response.metadata["usage"]
print("Read:", usage["forwarded"], "positions, of them written:", usage["written"])
