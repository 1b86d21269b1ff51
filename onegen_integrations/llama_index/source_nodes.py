"""The source nodes of an answer: nodes as they were read, and what is known of their places."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode

from onegen_integrations.shared.places import KEY, flat_metadata, own_metadata, place_names
from onegen_model import Passage, PassagePlace, ScoredPassage, place_of


@dataclass(frozen=True, slots=True)
class NodeHit(ScoredPassage):
    """A passage with the node it was made of, which comes back when it is inserted."""

    node: NodeWithScore = field(compare=False)


def source_node(hit: NodeHit) -> NodeWithScore:
    """The node of a hit, as a copy where it was widened or says where it stands."""
    node, place, kept = hit.node.node, place_of(hit.passage), _kept(hit.passage)
    widened = "pieces" in (hit.passage.metadata[KEY] if kept else ())
    if not isinstance(node, TextNode) or not (widened or place):
        return hit.node
    copy: TextNode = node.model_copy()
    names = _names(place, node.metadata) if place else {}
    copy.metadata = {**names, **own_metadata(node.metadata), **kept}
    added = [name for name in copy.metadata if name not in node.metadata]
    copy.excluded_embed_metadata_keys = [*node.excluded_embed_metadata_keys, *added]
    copy.excluded_llm_metadata_keys = [*node.excluded_llm_metadata_keys, *added]
    if widened:
        copy.text = hit.passage.text.removeprefix(_header(node))
        copy.start_char_idx = copy.end_char_idx = None
    if place and place.span:
        copy.start_char_idx, copy.end_char_idx = place.span
    return NodeWithScore(node=copy, score=hit.node.score)


def _names(place: PassagePlace, had: Mapping[str, Any]) -> dict[str, Any]:
    """A place by the names that LlamaIndex's readers use, and by those that the node had."""
    files: dict[str, Any] = {}
    if place.source:
        files = {"file_path": place.source, "file_name": PurePosixPath(place.source).name}
    known = {"page_label", "lines", *had}
    return files | {name: value for name, value in place_names(place).items() if name in known}


def _kept(passage: Passage) -> dict[str, Any]:
    flat = flat_metadata(passage)
    return {KEY: flat[KEY]} if KEY in flat else {}


def _header(node: TextNode) -> str:
    """What of the metadata stands before the text of a node."""
    whole, text = node.get_content(MetadataMode.EMBED), node.get_content(MetadataMode.NONE)
    return whole.removesuffix(text) if whole.endswith(text) else ""
