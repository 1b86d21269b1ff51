"""The embeddings of the model that writes, for LlamaIndex's indexes."""

import asyncio
from collections.abc import Sequence

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field

from onegen_integrations.llama_index.fields import PicklableModelFields
from onegen_model import Passage
from onegen_model.errors import PassageTooLongError


class OneGenEmbedding(PicklableModelFields, BaseEmbedding):
    """Texts are embedded as passages, queries as a question that retrieves at once.

    LlamaIndex hands over a node as one text, its metadata in front; `PassageParser` makes nodes
    whose text is `"title\\ntext"`, as training has it, and none longer than a passage.
    """

    model_name: str = Field(default="onegen", description="How events call the model.")

    @classmethod
    def class_name(cls) -> str:
        return "OneGenEmbedding"

    @property
    def max_passage_tokens(self) -> int:
        """Longest text, as `count_tokens` counts."""
        return self.shared.model.max_passage_tokens

    def count_tokens(self, text: str) -> int:
        """Tokens of a text."""
        return self.shared.model.count_tokens(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        row: list[float] = self.shared.model.embed_queries([query])[0].tolist()
        return row

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    def _get_text_embeddings(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit vectors; raises PassageTooLongError, and InvalidInputError for an empty text."""
        passages = [Passage(f"texts[{at}]", text) for at, text in enumerate(texts)]
        try:
            rows: list[list[float]] = self.shared.model.embed_passages(passages).tolist()
        except PassageTooLongError as error:
            raise PassageTooLongError(
                f"{error}; let PassageParser make the nodes: "
                "VectorStoreIndex.from_documents(…, transformations=[PassageParser()])"
            ) from error
        return rows

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)
