"""Constrained output that ends before its grammar does."""

from onegen_model import Answer, Grammar, OneGenError


def require_whole(answer: Answer, grammar: Grammar | None) -> None:
    """Raises OneGenError where a limit has cut what `grammar` describes: no parser can read it."""
    if grammar is None or answer.finish_reason not in ("length", "stop"):
        return
    cause = {
        "length": f"after {answer.usage.written} tokens, at max_tokens or the end of the context",
        "stop": "by a stop string",
    }[answer.finish_reason]
    raise OneGenError(
        f"The structured output was cut {cause}; expected the whole of it; raise max_tokens, "
        "shorten the conversation, or ask for a smaller schema without stop strings"
    )
