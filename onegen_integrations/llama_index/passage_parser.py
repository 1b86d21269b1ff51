"""Documents to nodes that the model embeds and reads as in training: `"title\\ntext"`."""

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core import Settings
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, Document, MetadataMode, TextNode

from onegen_integrations.llama_index.embeddings import OneGenEmbedding
from onegen_integrations.llama_index.model_fields import ModelTokenizer
from onegen_integrations.shared.json_values import json_title
from onegen_integrations.shared.known_names import require_known_names
from onegen_integrations.shared.usable_passages import shorten_title
from onegen_model import Passage
from onegen_model.errors import InvalidInputError, PassageTooLongError

TITLE = "title"
# The tokenizer is the model's.
_OPTIONS = {*inspect.signature(SentenceSplitter.__init__).parameters} - {"self", "tokenizer"}


class PassageParser(SentenceSplitter):
    """Splits documents into passages of `embed_model`, none longer than its model takes.

    Without one: that of `Settings`, or the default checkpoint's. Of the metadata only a `title` is
    embedded and read; the rest stays metadata. A title of more than half a passage is shortened in
    the nodes, with a warning that names the document. `options` are those of SentenceSplitter.
    """

    embed_model: OneGenEmbedding | None = None

    def __init__(
        self,
        embed_model: OneGenEmbedding | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        require_known_names("PassageParser", options, _OPTIONS)
        if isinstance(embed_model, Mapping):
            embed_model = OneGenEmbedding.from_dict(dict(embed_model))
        embeddings = embed_model or _default()
        longest = embeddings.max_passage_tokens
        chosen = {"chunk_size": longest, "chunk_overlap": 0, **options}
        if chosen["chunk_size"] > longest:
            raise InvalidInputError(
                f"chunk_size={chosen['chunk_size']}; expected at most {longest}, the longest "
                "passage of the model; lower it"
            )
        id_func = chosen.get("id_func")
        if isinstance(id_func, Mapping) and id_func.get("id_func_name") == "default_id_func":
            del chosen["id_func"]  # `to_dict` writes it so, and SentenceSplitter cannot read it.
        super().__init__(tokenizer=ModelTokenizer(embeddings.shared), **chosen)
        self.embed_model = embeddings

    @classmethod
    def class_name(cls) -> str:
        return "PassageParser"

    def __getstate__(self) -> dict[Any, Any]:
        # The private attributes, for example the tokenizer, are made again.
        return {**BaseModel.__getstate__(self), "__pydantic_private__": None}

    def split_text_metadata_aware(self, text: str, metadata_str: str) -> list[str]:
        """Raises PassageTooLongError for a `metadata_str` that leaves no room for text."""
        # Tokens of pieces do not add up to those of the whole: split finer until all fit.
        room = self.chunk_size
        while room > 0:
            chunks: list[str] = self._split_text(text, chunk_size=room)
            wholes = ("\n".join(filter(None, (metadata_str, chunk))) for chunk in chunks)
            excess = max((len(self._tokenizer(whole)) for whole in wholes), default=0)
            if excess <= self.chunk_size:
                return chunks
            room -= excess - self.chunk_size
        raise PassageTooLongError(
            f"The title {metadata_str[:60]!r} leaves no room in a passage of {self.chunk_size} "
            "tokens; expected a shorter one; shorten it, or leave it out of the metadata"
        )

    def get_nodes_from_documents(
        self, documents: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> list[BaseNode]:
        prepared: list[Any] = [self._prepare(one) for one in documents]
        nodes: list[BaseNode] = super().get_nodes_from_documents(prepared, show_progress, **kwargs)
        return nodes

    async def aget_nodes_from_documents(
        self, documents: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> list[BaseNode]:
        return await asyncio.to_thread(
            self.get_nodes_from_documents, documents, show_progress, **kwargs
        )

    def _prepare(self, document: BaseNode) -> BaseNode:
        """A copy in the format of training, whose title leaves room for text."""
        node = _format(document.model_copy())
        title = json_title(node.metadata)
        if title and self.embed_model is not None:
            model = self.embed_model.shared.model
            short = shorten_title(title, node.node_id, model)
            if short != title:
                node.metadata = {**node.metadata, TITLE: short}
        return node

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, Document]
    ) -> list[BaseNode]:
        # A node inherits the metadata of its document only here.
        return [_format(node) for node in super()._postprocess_parsed_nodes(nodes, parent_doc_map)]


def _default() -> OneGenEmbedding:
    # The public property would make an OpenAI client where nothing is set.
    own = Settings._embed_model
    return own if isinstance(own, OneGenEmbedding) else OneGenEmbedding()


def _format(node: BaseNode) -> BaseNode:
    # A title of None would be read as the word.
    shown = {TITLE} if json_title(node.metadata) else set()
    hidden = [key for key in node.metadata if key not in shown]
    node.excluded_embed_metadata_keys = node.excluded_llm_metadata_keys = hidden
    node.metadata_separator, node.metadata_template = "", "{value}"
    if isinstance(node, TextNode):
        node.text_template = "{metadata_str}\n{content}"
    return node


def to_passage(node: BaseNode) -> Passage:
    """The passage of a node; the model reads what was embedded."""
    return Passage(node.node_id, node.get_content(MetadataMode.EMBED), "", dict(node.metadata))
