"""A random model that writes what a test wants, by the engine and cache of every other model."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from onegen_model import OneGenModel

QUERY = "[RQ]"


@contextmanager
def scripted(model: OneGenModel, turns: Mapping[str, str | Sequence[str]]) -> Iterator[None]:
    """Writes the turn in `turns` whose key is the end of the prompt.

    Of several texts it is the first that begins like the turn so far. `[RQ]` is a retrieval.
    Turns under a grammar, and those behind none of the words, stay random.
    """
    engine: Any = model.engine
    choose, script = engine.sampler, _Script(model, turns)

    def choose_scripted(logits: Any, choices: Sequence[Any]) -> list[int | None]:
        return [
            own if choice.sampler.constraint else script.next_id(choice) or own
            for own, choice in zip(choose(logits, choices), choices, strict=True)
        ]

    engine.sampler = choose_scripted
    try:
        yield
    finally:
        engine.sampler = choose


class _Script:
    def __init__(self, model: OneGenModel, turns: Mapping[str, str | Sequence[str]]) -> None:
        self.renderer = model.renderer
        self.turns = turns
        self.start = self.renderer.tokenizer.convert_tokens_to_ids("<|im_start|>")
        self.known: dict[tuple[int, ...], Sequence[str]] = {}

    def next_id(self, choice: Any) -> int | None:
        start = len(choice.ids) - 1 - choice.ids[::-1].index(self.start)
        prompt = tuple(choice.ids[:start])
        if prompt not in self.known:
            self.known[prompt] = self.find(self.renderer.tokenizer.decode(prompt))
        texts, query = self.known[prompt], self.renderer.query_id
        if not texts:
            return None
        turn = self.renderer.tokenizer.decode(choice.ids[start:]).partition("assistant\n")[2]
        written = re.sub("<paragraph>.*?</paragraph>", "", turn, flags=re.S)
        if query in choice.masked and QUERY not in written:
            texts = [text.replace(QUERY, "") for text in texts]
        text = next((text for text in texts if text.startswith(written)), "")
        rest = text.removeprefix(written) if text.startswith(written) else ""
        if rest.startswith(QUERY) and query not in choice.masked:
            return query
        piece, _, _ = rest.partition(QUERY)
        return self.renderer.text_ids(piece)[0] if piece else self.renderer.end_id

    def find(self, prompt: str) -> Sequence[str]:
        words = max(self.turns, key=prompt.rfind)
        found = self.turns[words] if words in prompt else ()
        return [found] if isinstance(found, str) else found
