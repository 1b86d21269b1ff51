"""Documents to nodes that the model embeds and reads as in training: `"title\\ntext"`."""

import asyncio
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core import Settings
from llama_index.core.node_parser import TextSplitter
from llama_index.core.node_parser.node_utils import build_nodes_from_splits
from llama_index.core.schema import BaseNode, Document, MetadataMode, TextNode
from llama_index.core.utils import get_tqdm_iterable

from onegen_integrations.llama_index.embeddings import OneGenEmbedding
from onegen_integrations.shared.document_splitting import (
    flat_place,
    known_place,
    require_length,
    split_document,
)
from onegen_integrations.shared.json_values import json_title
from onegen_integrations.shared.known_names import require_known_names
from onegen_integrations.shared.places import KEY, nested_metadata
from onegen_integrations.shared.text_structure import Syntax
from onegen_integrations.shared.usable_passages import shorten_title
from onegen_model import Passage, PassageSplitter

TITLE = "title"
_OPTIONS = {*TextSplitter.model_fields, "chunk_size", "syntax"}


class PassageParser(TextSplitter):
    """Splits documents into passages of `embed_model`, none longer than its model takes.

    Without one: that of `Settings`, or the default checkpoint's. `chunk_size` is the longest
    passage in tokens of the model. `syntax` is "text", "markdown" or "code"; without one, it is as
    OneGenReader has read it, and of documents from elsewhere those from `.md` files are Markdown
    and others text. The `title` of a node is that of its document and the headings that lead to it;
    it is embedded and read, and the rest stays metadata, to which `headings`, `lines`, `page`,
    `page_label` and the place of the node (`onegen`) are added where they are known. A title of
    more than a third of a passage is shortened in the nodes, with a warning that names the
    document. Other `options` are those of every NodeParser.
    """

    embed_model: OneGenEmbedding | None = None
    chunk_size: int = 0
    syntax: Syntax | None = None

    def __init__(
        self,
        embed_model: OneGenEmbedding | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        require_known_names("PassageParser", options, _OPTIONS)
        if isinstance(embed_model, Mapping):
            embed_model = OneGenEmbedding.from_dict(dict(embed_model))
        embeddings = embed_model or _default()
        length = require_length(options.get("chunk_size"), embeddings.max_passage_tokens)
        chosen = {**options, "chunk_size": length}
        id_func = chosen.get("id_func")
        if isinstance(id_func, Mapping) and id_func.get("id_func_name") == "default_id_func":
            del chosen["id_func"]  # `to_dict` writes it so, and TextSplitter cannot read it.
        super().__init__(**chosen)
        self.embed_model = embeddings

    @classmethod
    def class_name(cls) -> str:
        return "PassageParser"

    def __getstate__(self) -> dict[str, Any]:
        """Raises InvalidInputError for a model that was passed as an object.

        LlamaIndex leaves out what cannot be pickled: the workers of a pipeline would split for the
        default model, which they would load first.
        """
        pickle.dumps(self.embed_model)
        state: dict[str, Any] = super().__getstate__()
        return state

    def split_text(self, text: str) -> list[str]:
        """The passages of a text without a title, each with the headings that lead to it."""
        embeddings = self.embed_model or _default()
        splitter = PassageSplitter.for_model(embeddings.shared.model, self.chunk_size)
        found = split_document(splitter, text, {}, self.syntax)
        return [passage.titled_text for passage in found]

    async def aget_nodes_from_documents(
        self, documents: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> list[BaseNode]:
        given: list[Any] = [*documents]
        nodes: list[BaseNode] = await asyncio.to_thread(
            self.get_nodes_from_documents, given, show_progress, **kwargs
        )
        return nodes

    def _parse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> list[BaseNode]:
        embeddings = self.embed_model or _default()
        splitter = PassageSplitter.for_model(embeddings.shared.model, self.chunk_size)
        shown = get_tqdm_iterable(nodes, show_progress, "Parsing nodes")
        return [part for node in shown for part in self._split(node, splitter, embeddings)]

    def _split(
        self, node: BaseNode, splitter: PassageSplitter, embeddings: OneGenEmbedding
    ) -> list[TextNode]:
        title = json_title(node.metadata)
        short = shorten_title(title, node.node_id, embeddings.shared.model) if title else title
        metadata = {**node.metadata, TITLE: short}
        text = node.get_content(metadata_mode=MetadataMode.NONE)
        passages = split_document(splitter, text, metadata, self.syntax, node.node_id)
        texts = [passage.text for passage in passages]
        parts: list[TextNode] = build_nodes_from_splits(texts, node, id_func=self.id_func)
        for part, passage in zip(parts, passages, strict=True):
            known = flat_place(passage, node.metadata)
            part.metadata = {
                name: value
                for name, value in known.items()
                if name == KEY or name not in node.metadata
            }
            if passage.title:
                part.metadata[TITLE] = passage.title
            part.start_char_idx, part.end_char_idx = known_place(passage).span or (None, None)
        return parts

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, Document]
    ) -> list[BaseNode]:
        # A node inherits the metadata of its document only here, and is searched for in its text,
        # which may hold it more than once.
        texts = [node for node in nodes if isinstance(node, TextNode)]
        spans = [(node.start_char_idx, node.end_char_idx) for node in texts]
        done = super()._postprocess_parsed_nodes(nodes, parent_doc_map)
        for node, span in zip(texts, spans, strict=True):
            node.start_char_idx, node.end_char_idx = span
        return [to_formatted(node) for node in done]


def _default() -> OneGenEmbedding:
    # The public property would make an OpenAI client where nothing is set.
    own = Settings._embed_model
    return own if isinstance(own, OneGenEmbedding) else OneGenEmbedding()


def to_formatted(node: BaseNode) -> BaseNode:
    """The node itself, which is embedded and read as `"title\\ntext"` from now on."""
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
    text = node.get_content(MetadataMode.EMBED)
    return Passage(node.node_id, text, "", nested_metadata(node.metadata))
