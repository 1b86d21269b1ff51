"""Whether a model can travel to another process together with an index."""

import io
import pickle

from onegen_model.errors import InvalidInputError, OneGenError

# A model that pickles as its name takes some hundred bytes; one with weights takes millions.
_MAX_BYTES = 2**20


class _SmallFile(io.BytesIO):
    """Raises ValueError once more than `_MAX_BYTES` are written."""

    def write(self, data: object) -> int:
        content = memoryview(data)  # type: ignore[arg-type]
        if self.tell() + content.nbytes > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES} bytes")
        return super().write(content)


def require_small_pickle(model: object) -> None:
    """Raise InvalidInputError unless `model` pickles, and without its weights."""
    try:
        pickle.dump(model, _SmallFile())
    except OneGenError:
        raise
    except Exception as error:  # `pickle` lets through whatever an object raises.
        raise InvalidInputError(
            f"The model of the PassageIndex, a {type(model).__name__}, does not pickle as a name "
            f"({error}); expected one that does; pass the names of the model and of the index's "
            "folder, and load both where they are needed"
        ) from error
