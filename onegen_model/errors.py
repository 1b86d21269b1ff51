"""All errors of the library. Each names what is wrong, what was expected, and what to do."""


class OneGenError(Exception):
    """The base class of all errors that this library raises on purpose."""


class InvalidInputError(OneGenError, ValueError):
    """An argument, a question or a passage cannot be used."""


class PassageTooLongError(InvalidInputError):
    """A passage exceeds the checkpoint's passage length; split the document first."""


class ContextTooLongError(InvalidInputError):
    """The prompt leaves no room to write inside the model's context."""


class ProtocolError(OneGenError, RuntimeError):
    """An event that the request's state does not allow. A bug of the caller, never of the data."""


class QueueFullError(OneGenError):
    """Too many requests wait for a slot of the engine; try again, or wait for room."""


class EngineError(OneGenError, RuntimeError):
    """An engine could not compute a request: its numbers are not finite, or its process forked."""


class CheckpointError(OneGenError):
    """A model, its weights or its tokens cannot be loaded as a OneGen checkpoint."""


class PassageIndexError(OneGenError):
    """A passage index is missing, damaged, or belongs to another model."""


class RetrievalError(OneGenError):
    """A retriever raised or answered with something that cannot be inserted."""


class MissingExtraError(OneGenError, ImportError):
    """An optional dependency is needed; the message names the extra to install."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, a GPU or torch's CPU allocator has no room left."""
    # By name, as torch is unknown here; the CPU's allocator has no error class of its own.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)
