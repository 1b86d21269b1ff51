"""The dtypes in which a network may run, by the names that users give."""

from collections.abc import Mapping
from types import MappingProxyType

import torch

from onegen_model.errors import InvalidInputError

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
)


def find_dtype(name: object) -> torch.dtype:
    """Raises InvalidInputError for anything but a name in `DTYPES`."""
    if not isinstance(name, str) or name not in DTYPES:
        raise InvalidInputError(
            f"dtype={name!r}; expected one of {', '.join(DTYPES)}; change dtype"
        )
    return DTYPES[name]
