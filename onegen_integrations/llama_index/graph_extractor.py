"""The entities of nodes as nodes and relations of a property graph."""

from collections.abc import Iterator, Sequence
from typing import Any

from llama_index.core.graph_stores.types import (
    KG_NODES_KEY,
    KG_RELATIONS_KEY,
    TRIPLET_SOURCE_KEY,
    EntityNode,
    Relation,
)
from llama_index.core.schema import BaseNode, TransformComponent

from onegen_integrations.llama_index.entity_nodes import NodeLinkingFields, hide_metadata
from onegen_model import LinkedText, Mention, Passage, entity_name

MENTIONS = "MENTIONS"


class GraphEntity(EntityNode):
    """An entity that is embedded as in an index of entities: by its name and its description."""

    def __str__(self) -> str:
        named = self.properties.get("name", self.name)
        described = self.properties.get("description")
        return f"{named}\n{described}" if described else str(named)


class OneGenGraphExtractor(NodeLinkingFields, TransformComponent):
    """Gives a PropertyGraphIndex the entities of each node, as one of its `kg_extractors`.

    The node of an entity is called "name (id)", because graph stores know nodes by their names, and
    several entities may have the same. Its properties are `id`, `name` and `description`; its label
    is the entity's metadata `label_key` (the first if that is a list), or "entity".

    One relation MENTIONS leads from a node to each entity of its text; its properties `starts`,
    `ends`, `surfaces` and `scores` have an item for each mention. Mentions without an entity are
    left out. All nodes of a call are read side by side.
    """

    label_key: str = "type"

    @classmethod
    def class_name(cls) -> str:
        return "OneGenGraphExtractor"

    def __call__(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> Sequence[BaseNode]:
        return self._fill(nodes, self._link(nodes, progress=show_progress))

    async def acall(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> Sequence[BaseNode]:
        return self._fill(nodes, await self._alink(nodes, progress=show_progress))

    def _fill(self, nodes: Sequence[BaseNode], linked: Sequence[LinkedText]) -> Sequence[BaseNode]:
        # The index embeds an entity as often as it is named, so one node names it for all.
        known: set[str] = set()
        for node, text in zip(nodes, linked, strict=True):
            entities = node.metadata.setdefault(KG_NODES_KEY, [])
            relations = node.metadata.setdefault(KG_RELATIONS_KEY, [])
            for entity, mentions in _by_entity(text.mentions):
                named = self._entity_node(entity)
                relations.append(_relation(node, named, mentions))
                if entity.id not in known:
                    known.add(entity.id)
                    entities.append(named)
            # Retrievers add the text of a triplet's first node by this property, which the index
            # itself writes to entities and relations alone.
            node.metadata[TRIPLET_SOURCE_KEY] = node.node_id
            hide_metadata(node, TRIPLET_SOURCE_KEY)
        return nodes

    def _entity_node(self, entity: Passage) -> GraphEntity:
        name, label = entity_name(entity), entity.metadata.get(self.label_key)
        if isinstance(label, list) and label:
            label = label[0]
        properties = {"id": entity.id, "name": name}
        if entity.title:
            properties["description"] = entity.text
        return GraphEntity(
            name=f"{name} ({entity.id})",
            label=label if isinstance(label, str) and label else "entity",
            properties=properties,
        )


def _by_entity(mentions: Sequence[Mention]) -> Iterator[tuple[Passage, list[Mention]]]:
    """The entities of a text, each with its mentions; both in the order of the text."""
    found: dict[str, tuple[Passage, list[Mention]]] = {}
    for one in mentions:
        if one.entity:
            entity = one.entity.passage
            found.setdefault(entity.id, (entity, []))[1].append(one)
    yield from found.values()


def _relation(node: BaseNode, entity: EntityNode, mentions: Sequence[Mention]) -> Relation:
    return Relation(
        label=MENTIONS,
        source_id=node.node_id,
        target_id=entity.id,
        properties={
            "starts": [one.start for one in mentions],
            "ends": [one.end for one in mentions],
            "surfaces": [one.surface for one in mentions],
            "scores": [one.score for one in mentions],
        },
    )
