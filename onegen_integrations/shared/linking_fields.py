"""The fields of every component that links entities."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import field_serializer, field_validator

from onegen_integrations.shared.entities import SharedEntities
from onegen_integrations.shared.known_names import require_known_names
from onegen_integrations.shared.model_fields import ModelFields
from onegen_model import LinkingParams
from onegen_model.errors import InvalidInputError

_PARAMS = [one.name for one in fields(LinkingParams)]


def params_from(linking: Mapping[str, Any]) -> LinkingParams:
    """The parameters with these fields; raises InvalidInputError for a name that is none."""
    require_known_names("linking", linking, _PARAMS)
    return LinkingParams(**linking)


class LinkingFields(ModelFields):
    """The model, which must be one that links, the entities, and how they are linked.

    `entities` is a PassageIndex that this model has embedded, the folder of one, or another
    retriever of the core. A folder is read when first used, once for all components with the same
    model. `linking` are LinkingParams, or a mapping of their fields.
    """

    entities: SharedEntities
    linking: LinkingParams | None = None

    @field_validator("entities", mode="before")
    @classmethod
    def _hold_entities(cls, entities: object) -> SharedEntities:
        return entities if isinstance(entities, SharedEntities) else SharedEntities(entities)

    @field_validator("linking", mode="plain")
    @classmethod
    def _as_params(cls, linking: object) -> LinkingParams | None:
        if linking is None or isinstance(linking, LinkingParams):
            return linking
        if isinstance(linking, Mapping):
            return params_from(linking)
        raise InvalidInputError(
            f"linking is of type {type(linking).__name__}; expected LinkingParams; change linking"
        )

    @field_serializer("entities")
    def _entities_label(self, entities: SharedEntities) -> str:
        return entities.label

    @field_serializer("linking")
    def _plain_params(self, linking: LinkingParams | None) -> dict[str, Any] | None:
        return None if linking is None else {name: getattr(linking, name) for name in _PARAMS}

    def open_entities(self) -> Any:
        """The retriever that the model links with; the first call reads an index in a folder."""
        return self.entities.open(self.shared, self._adapt)

    def _adapt(self, entities: Any) -> Any:
        """The retriever of the core that searches entities of another kind."""
        return entities

    def unload(self) -> None:
        """Free the model, for all components that share it, and the entities of this one."""
        self.entities.close()
        super().unload()
