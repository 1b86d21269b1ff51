"""Constrained output that ends before its grammar does."""

from onegen_model import Answer, Grammar, OneGenError


def require_whole(answer: Answer, grammar: Grammar | None) -> None:
    """Raises OneGenError if a limit has cut the output of `grammar`, which no parser can read."""
    if grammar is None or answer.finish_reason not in ("length", "stop"):
        return
    raise cut_output(None if answer.finish_reason == "stop" else answer.usage.written)


def cut_output(written: int | None) -> OneGenError:
    """The error of output that ends after `written` tokens, or at a stop string for None."""
    cause = "by a stop string"
    if written is not None:
        cause = f"after {written} tokens, at max_tokens or the end of the context"
    return OneGenError(
        f"The structured output was cut {cause}; expected the whole of it; raise max_tokens, "
        "shorten the conversation, or ask for a smaller schema without stop strings"
    )
