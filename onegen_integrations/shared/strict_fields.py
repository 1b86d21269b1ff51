"""Refuses constructor arguments that a component does not have.

Pydantic drops an unknown argument silently, and both frameworks keep that default: a misspelt
`vectorstore` answers without a search, a misspelt `model` loads the default checkpoint.
"""

import difflib
import warnings
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import AliasChoices, BaseModel, model_validator
from pydantic.fields import FieldInfo

from onegen_model.errors import InvalidInputError

MODEL_NAMES = ("model_name", "model_id", "model_path")
"""What other components of both frameworks call `model`."""

_USUAL_NAMES = {
    **dict.fromkeys(MODEL_NAMES, "model"),
    "max_new_tokens": "max_tokens",
    "stop_sequences": "stop",
    "score_threshold": "min_score",
}
# LangChain gives these to every chat model; a model in this process has no use for them.
_OF_REMOTE_SERVICES = frozenset({"timeout", "max_retries", "streaming", "api_key"})
# Written into a serialised component by LlamaIndex and read back by its `from_dict`.
_WRITTEN_BY_HOSTS = frozenset({"class_name"})


class StrictFields(BaseModel):
    """A mixin: every argument is a field of the finished class, an alias of one, or an error.

    Inherited fields count as well; a subclass with `extra="allow"` takes anything. `usual_names`
    maps a name that users know from other components to the field it means; an entry for a field
    that the class does not have is inert. Where such a name is also a field of the framework
    (`model_name` of LlamaIndex's embeddings), it is copied to the field it means only if that one
    is not given itself.
    `ignored_names` are accepted with a warning and dropped.
    """

    usual_names: ClassVar[Mapping[str, str]] = MappingProxyType(_USUAL_NAMES)
    ignored_names: ClassVar[frozenset[str]] = _OF_REMOTE_SERVICES

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, given: Any) -> Any:
        """Raises InvalidInputError, which pydantic reports as its ValidationError."""
        if not isinstance(given, Mapping):
            return given
        translated = cls._translate(given)
        if cls.model_config.get("extra") == "allow":
            return translated
        names = _accepted_names(cls.model_fields)
        for name in list(translated):
            if name in cls.ignored_names - names:
                del translated[name]
                warnings.warn(f"{cls.__name__} ignores {name!r}", stacklevel=2)
                continue
            is_hosts_own = name in _WRITTEN_BY_HOSTS or str(name).startswith("_")
            if name not in names and not is_hosts_own:
                raise InvalidInputError(_unknown(cls.__name__, str(name), names))
        return translated

    @classmethod
    def _translate(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        translated = dict(given)
        for usual, name in cls.usual_names.items():
            if usual not in given or name not in cls.model_fields:
                continue
            is_field = usual in cls.model_fields
            value = given[usual] if is_field else translated.pop(usual)
            if name not in translated:
                translated[name] = value
            elif not is_field and translated[name] != value:
                raise InvalidInputError(
                    f"{cls.__name__} got {name!r} and {usual!r}, which mean the same; expected one "
                    f"of them; leave out {usual!r}"
                )
        return translated


def _accepted_names(fields: Mapping[str, FieldInfo]) -> set[str]:
    names = set(fields)
    for field in fields.values():
        choices = field.validation_alias
        aliases = choices.choices if isinstance(choices, AliasChoices) else [choices]
        names.update(alias for alias in (*aliases, field.alias) if isinstance(alias, str))
    return names


def _unknown(component: str, name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(names), n=1)
    if near:
        return f"{component} has no argument {name!r}; expected {near[0]!r}; correct the name"
    return (
        f"{component} has no argument {name!r}; expected some of {', '.join(sorted(names))}; "
        "leave it out"
    )
