"""The entities of nodes as metadata, for ingestion pipelines."""

import json
from collections.abc import Sequence
from typing import Any

from llama_index.core.extractors import BaseExtractor
from llama_index.core.schema import BaseNode

from onegen_integrations.llama_index.entity_nodes import NodeLinkingFields, hide_metadata
from onegen_integrations.shared.entities import mention_values

ENTITIES = "entities"


class OneGenEntityExtractor(NodeLinkingFields, BaseExtractor):
    """Adds the mentions of a node's text to its metadata, under `entities`.

    Each is a mapping of `start`, `end`, `surface`, `id`, `name` and `score`; a mention that has no
    entity has the id and the name None. `start` and `end` count characters of the text of the node,
    so the extractor belongs behind the parser of a pipeline. The metadata are neither embedded nor
    read by a model. With `flat` they are JSON text, for stores that refuse lists (Chroma).

    All nodes of a call are read side by side. Other fields are those of every BaseExtractor; the
    template of a node is kept unless `disable_template_rewrite` is False.
    """

    flat: bool = False
    disable_template_rewrite: bool = True

    @classmethod
    def class_name(cls) -> str:
        return "OneGenEntityExtractor"

    async def aextract(self, nodes: Sequence[BaseNode]) -> list[dict[str, Any]]:
        linked = await self._alink(nodes, progress=self.show_progress)
        listed = [[mention_values(one) for one in text.mentions] for text in linked]
        return [{ENTITIES: self._value(mentions)} for mentions in listed]

    def _value(self, mentions: list[dict[str, Any]]) -> object:
        return json.dumps(mentions, ensure_ascii=False) if self.flat else mentions

    async def aprocess_nodes(
        self,
        nodes: Sequence[BaseNode],
        excluded_embed_metadata_keys: list[str] | None = None,
        excluded_llm_metadata_keys: list[str] | None = None,
        **kwargs: Any,
    ) -> list[BaseNode]:
        done: list[BaseNode] = await super().aprocess_nodes(
            nodes, excluded_embed_metadata_keys, excluded_llm_metadata_keys, **kwargs
        )
        for node in done:
            hide_metadata(node, ENTITIES)
        return done
