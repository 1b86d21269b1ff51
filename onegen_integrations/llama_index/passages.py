"""Documents to nodes that the model embeds and reads as training did: `"title\\ntext"`."""

from collections.abc import Sequence
from typing import Any

from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, Document, MetadataMode, TextNode

from onegen_integrations.llama_index.embeddings import OneGenEmbedding
from onegen_model import Passage

TITLE = "title"


class PassageParser(SentenceSplitter):
    """Splits documents into passages of `embed_model` (the default checkpoint's without one).

    Of the metadata only a `title` is embedded and read; the rest stays metadata.
    """

    def __init__(self, embed_model: OneGenEmbedding | None = None, **options: Any) -> None:
        model = (embed_model or OneGenEmbedding()).shared.model
        options.setdefault("chunk_size", model.max_passage_tokens)
        options.setdefault("chunk_overlap", 0)
        super().__init__(tokenizer=model.renderer.text_ids, **options)

    @classmethod
    def class_name(cls) -> str:
        return "PassageParser"

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
