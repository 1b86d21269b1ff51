"""A saved model that links, a folder of its entities, and nodes that mention them."""

from pathlib import Path

from llama_index.core.schema import TextNode

from onegen_integrations.shared import shared_model
from onegen_model import LinkedText, OneGenModel, PassageIndex
from tests.support.linking_model import TEXT, entity_index, linking_model

TEXTS = [TEXT, "Alan Turing met Ada Lovelace at Lake Victoria, near Mount Kenya.", "", TEXT[:36]]


def save_linking_model(folder: Path) -> tuple[Path, Path]:
    """The folders of the model and of its entities."""
    model, entities = folder / "model", folder / "entities"
    linking_model().save_pretrained(model)
    entity_index(shared_model(model)).save(entities)
    return model, entities


def text_nodes() -> list[TextNode]:
    return [TextNode(id_=f"n{at}", text=text) for at, text in enumerate(TEXTS)]


def link_texts(model: OneGenModel, entities: Path) -> list[LinkedText]:
    return model.link(TEXTS, entities=PassageIndex.load(model, entities))
