"""A query engine over Chroma that is kept on disk, and opened again without embedding anything.

    $ python examples/06_llama_index_chroma.py
    Answer: Bergen
    Who is the director of Winter Harbour? -> Winter Harbour (0.89)
    Where was Olav Brekke born? -> Olav Brekke (0.90)
    Read: 134 positions, of them written: 47

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
    "The Blue Door": "The Blue Door is a 1962 Swedish drama film directed by Ada Lindqvist.",
    "Ada Lindqvist": "Ada Lindqvist (born 4 May 1921) was a Swedish film director from Lund.",
    "Winter Harbour": "Winter Harbour is a 1974 Norwegian thriller film by Olav Brekke.",
    "Olav Brekke": "Olav Brekke (born 19 June 1930) was a Norwegian director from Bergen.",
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
response = engine.query("Where was the director of the film Winter Harbour born?")

print("Answer:", response)
for hop, found in zip(response.metadata["hops"], response.source_nodes, strict=True):
    print(f"{hop['query']} -> {found.node.metadata['title']} ({found.score:.2f})")
usage = response.metadata["usage"]
print("Read:", usage["forwarded"], "positions, of them written:", usage["written"])
