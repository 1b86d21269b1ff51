"""Nodes of LlamaIndex as entities, and nodes as texts that are linked."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from pydantic import Field, model_validator

from onegen_integrations.llama_index.filters import to_metadata_filters
from onegen_integrations.llama_index.model_fields import PicklableModelFields
from onegen_integrations.llama_index.node_retriever import NodeRetriever, NodeSource
from onegen_integrations.shared.entities import UnscoredEntity, with_known_scores
from onegen_integrations.shared.json_values import json_title
from onegen_integrations.shared.linking_fields import LinkingFields
from onegen_integrations.shared.models import SharedModel
from onegen_integrations.shared.places import nested_metadata
from onegen_model import LinkedText, LinkingParams, OneGenModel, Passage, Query, ScoredPassage
from onegen_model.errors import InvalidInputError, RetrievalError


class EntityNodes(NodeRetriever):
    """Searches a `NodeSource` whose nodes are entities.

    The id of an entity is that of the node's document, or its own without one; its name is the
    `title`, its description the text.
    """

    def applicable(self, linking: LinkingParams) -> LinkingParams:
        """The parameters for this source: names count where scores are known as cosines.

        Raises InvalidInputError for parameters that it cannot apply.
        """
        if linking.filter:
            self._filtered(linking.filter)
        if self.source.has_known_scores:
            return linking
        if linking.nil_threshold is not None:
            raise InvalidInputError(
                f"nil_threshold={linking.nil_threshold} over {type(self.source.store).__name__}, "
                "whose scores are not known as cosines; expected another store, or a PassageIndex; "
                "leave nil_threshold out"
            )
        return replace(linking, name_weight=0)

    def _filtered(self, filter: Mapping[str, Any]) -> NodeSource:
        if isinstance(self.source.searched, BaseRetriever):
            raise InvalidInputError(
                "linking has a filter, and the entities are a retriever; expected the filter in "
                "the retriever itself; pass the index instead, or leave the filter out"
            )
        filters = to_metadata_filters(filter, self.source.store)
        return replace(self.source, options={**self.source.options, "filters": filters})

    def _ask(self, query: Query) -> tuple[QueryBundle, BaseRetriever]:
        source = self._filtered(query.filter) if query.filter else self.source
        bundle = QueryBundle(query_str=query.text, embedding=list(query.embedding))
        return bundle, source.retriever(query.top_k + len(query.exclude))

    def _to_hits(self, nodes: Sequence[NodeWithScore], query: Query) -> list[ScoredPassage]:
        found = [(_to_entity(one.node), one.score) for one in nodes]
        return [
            ScoredPassage(entity, score)
            if score is not None and self.source.has_known_scores
            else UnscoredEntity(entity, score or 0.0)
            for entity, score in found
            if entity.text.strip()
        ]


def _to_entity(node: BaseNode) -> Passage:
    name, described = json_title(node.metadata), node.get_content(MetadataMode.NONE)
    identifier = node.ref_doc_id or node.node_id
    if not described.strip():
        name, described = "", name
    return Passage(identifier, described, name, nested_metadata(node.metadata))


class NodeLinkingFields(PicklableModelFields, LinkingFields):
    """The fields of components that link the texts of nodes.

    `entities` may also be a VectorStoreIndex or a retriever of LlamaIndex, whose nodes are
    entities (see EntityNodes). The model is "entity-linking" by default.
    """

    model: str | Path | OneGenModel | SharedModel | None = Field(
        default_factory=lambda: os.environ.get("ONEGEN_MODEL", "entity-linking")
    )

    @model_validator(mode="after")
    def _detect(self) -> "NodeLinkingFields":
        if self.linking and self.linking.spans is not None:
            raise InvalidInputError(
                'linking gives the mentions of one text; expected mentions="detect" for nodes '
                "with texts of their own; leave mentions out, or use OneGenModel.link"
            )
        return self

    def __getstate__(self) -> dict[Any, Any]:
        """Raises InvalidInputError for a model or entities that cannot be pickled."""
        own = self.entities.source
        if isinstance(own, VectorStoreIndex | BaseRetriever):
            NodeSource(own, self.shared).__reduce__()
        self.entities.require_picklable()
        return super().__getstate__()

    def _adapt(self, entities: Any) -> Any:
        if not isinstance(entities, VectorStoreIndex | BaseRetriever):
            return entities
        source = NodeSource(entities, self.shared)
        source.require_searchable()
        return EntityNodes(source)

    def _open(self) -> tuple[Any, LinkingParams]:
        entities, linking = self.open_entities(), self.linking or LinkingParams()
        is_adapted = isinstance(entities, EntityNodes)
        return entities, entities.applicable(linking) if is_adapted else linking

    def _link(self, nodes: Sequence[BaseNode], *, progress: bool) -> list[LinkedText]:
        """The texts of all nodes, read side by side."""
        entities, linking = self._open()
        linked = self.shared.model.link(
            _texts(nodes), entities=entities, linking=linking, progress=progress
        )
        return self._with_known_scores(linked)

    async def _alink(self, nodes: Sequence[BaseNode], *, progress: bool) -> list[LinkedText]:
        # The first call loads the model and reads the index.
        entities, linking = await asyncio.to_thread(self._open)
        linked = await self.shared.model.alink(
            _texts(nodes), entities=entities, linking=linking, progress=progress
        )
        return self._with_known_scores(linked)

    def _with_known_scores(self, linked: Sequence[LinkedText]) -> list[LinkedText]:
        """Raises RetrievalError for a retriever without the scores that a threshold needs."""
        known = list(map(with_known_scores, linked))
        least = self.linking.nil_threshold if self.linking else None
        unknown = (one for text in known for one in text.mentions if one.candidates[:1])
        if least is not None and any(one.score is None for one in unknown):
            raise RetrievalError(
                f"nil_threshold={least}, and the retriever found entities without a score; "
                "expected one for each; leave nil_threshold out, or pass the index itself"
            )
        return known


def _texts(nodes: Sequence[BaseNode]) -> list[str]:
    return [node.get_content(metadata_mode=MetadataMode.NONE) for node in nodes]


def hide_metadata(node: BaseNode, name: str) -> None:
    """Keep metadata out of what is embedded and of what a model reads."""
    # Both attributes may be one list, which a parser has made.
    for attribute in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys"):
        hidden = [*getattr(node, attribute), name]
        setattr(node, attribute, list(dict.fromkeys(hidden)))
