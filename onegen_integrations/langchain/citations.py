"""Passages in the blocks of a message: what was read, and what the answer cites."""

from collections.abc import Mapping, Sequence
from typing import Any

from onegen_integrations.shared.json_values import json_metadata, json_title
from onegen_integrations.shared.places import PLACE_NAMES, flat_metadata
from onegen_model import ScoredPassage

Block = dict[str, Any]


def cite(answer: str, blocks: Sequence[Mapping[str, Any]]) -> list[Block]:
    """A citation of the whole answer for each passage of `blocks`, each passage once."""
    citations: dict[str, Block] = {}
    for block in blocks:
        if block["type"] != "server_tool_result" or block["status"] != "success":
            continue
        for found in block["output"]:
            citation = {
                "type": "citation",
                "id": f"{block['tool_call_id']}_{found['id']}",
                "title": json_title(found["metadata"]),
                "start_index": 0,
                "end_index": len(answer),
                "extras": {
                    "document_id": found["id"],
                    "tool_call_id": block["tool_call_id"],
                    **_names(found["metadata"]),
                },
            }
            if answer and answer in found["page_content"]:
                citation["cited_text"] = answer
            citations.setdefault(found["id"], citation)
    return list(citations.values())


def _names(metadata: Mapping[str, Any]) -> Block:
    """What is known of the place, by the usual names; loaders of LangChain know some of them."""
    return {name: metadata[name] for name in PLACE_NAMES if metadata.get(name) is not None}


def to_output(scored: ScoredPassage) -> Block:
    """A passage in the output of a `server_tool_result`."""
    passage = scored.passage
    return {
        "id": passage.id,
        "page_content": passage.titled_text,
        "metadata": json_metadata(flat_metadata(passage)),
        "score": scored.score,
    }
