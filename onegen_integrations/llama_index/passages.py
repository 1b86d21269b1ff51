"""Documents to nodes that the model embeds and reads as training did: `"title\\ntext"`."""

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core import Settings
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, Document, MetadataMode, TextNode

from onegen_integrations.llama_index.embeddings import OneGenEmbedding
from onegen_model import Passage
from onegen_model.errors import InvalidInputError, PassageTooLongError

TITLE = "title"


class PassageParser(SentenceSplitter):
    """Splits documents into passages of `embed_model`, none longer than its model takes.

    Without one: that of `Settings`, or the default checkpoint's. Of the metadata only a `title` is
    embedded and read; the rest stays metadata. `options` are those of SentenceSplitter.
    """

    embed_model: OneGenEmbedding | None = None

    def __init__(
        self,
        embed_model: OneGenEmbedding | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
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
            del chosen["id_func"]  # `to_dict` writes it so, and nobody reads it
        super().__init__(tokenizer=embeddings.shared.model.renderer.text_ids, **chosen)
        self.embed_model = embeddings

    @classmethod
    def class_name(cls) -> str:
        return "PassageParser"

    def __getstate__(self) -> dict[Any, Any]:
        # The rest, the model's tokenizer among it, is made anew.
        return {**BaseModel.__getstate__(self), "__pydantic_private__": None}

    def split_text_metadata_aware(self, text: str, metadata_str: str) -> list[str]:
        """Raises PassageTooLongError where a title leaves no room for text."""
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

    def _parse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> list[BaseNode]:
        documents = [_format(node.model_copy()) for node in nodes]
        return super()._parse_nodes(documents, show_progress=show_progress, **kwargs)

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, Document]
    ) -> list[BaseNode]:
        # Only here a node has inherited the metadata of its document.
        return [_format(node) for node in super()._postprocess_parsed_nodes(nodes, parent_doc_map)]


def _default() -> OneGenEmbedding:
    # The public property would make an OpenAI client where nothing is set.
    own = Settings._embed_model
    return own if isinstance(own, OneGenEmbedding) else OneGenEmbedding()


def _format(node: BaseNode) -> BaseNode:
    hidden = [key for key in node.metadata if key != TITLE]
    node.excluded_embed_metadata_keys = node.excluded_llm_metadata_keys = hidden
    node.metadata_separator, node.metadata_template = "", "{value}"
    if isinstance(node, TextNode):
        node.text_template = "{metadata_str}\n{content}"
    return node


def to_passage(node: BaseNode) -> Passage:
    """What the model reads of a node is what was embedded of it."""
    return Passage(node.node_id, node.get_content(MetadataMode.EMBED), "", dict(node.metadata))
