"""The embeddings of the model that writes, for LlamaIndex's indexes."""

import asyncio
from typing import ClassVar

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field

from onegen_integrations.llama_index.model_fields import PicklableModelFields
from onegen_integrations.shared.model_fields import EmbeddingFields


class OneGenEmbedding(PicklableModelFields, EmbeddingFields, BaseEmbedding):
    """Texts are embedded as passages, queries as a question that retrieves at once.

    LlamaIndex hands over a node as one text, its metadata in front; `PassageParser` makes nodes
    whose text is `"title\\ntext"`, as training has it, and none longer than a passage. A longer
    text is embedded by its beginning, with one warning.
    """

    splitter: ClassVar[str] = "PassageParser (`transformations=[PassageParser()]`)"

    model_name: str = Field(default="onegen", description="How events call the model.")

    @classmethod
    def class_name(cls) -> str:
        return "OneGenEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embed_query(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._embed_texts([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embed_texts(texts)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)
