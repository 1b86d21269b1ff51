"""Whether answers over HTTP are those of `model.generate`."""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx

from benchmarks.serving.asking import CHAT, Caller
from benchmarks.serving.load import cut
from onegen_model import Answer, OneGenModel, PassageIndex, RetrievalParams, SamplingParams

# The defaults of `onegen serve`.
_SAMPLING, _RETRIEVAL = SamplingParams(max_new_tokens=256), RetrievalParams(top_k=2)


def generated(model: OneGenModel, index: PassageIndex, questions: Sequence[str]) -> list[Answer]:
    """Greedy answers, one by one."""
    return [
        model.generate(one, retriever=index, sampling=_SAMPLING, retrieval=_RETRIEVAL)
        for one in questions
    ]


async def served(caller: Caller, questions: Sequence[str], at_once: int) -> list[dict[str, Any]]:
    """Messages over HTTP, so many at once."""
    room = asyncio.Semaphore(at_once)

    async def ask(question: str) -> dict[str, Any]:
        body = {"messages": [{"role": "user", "content": question}]}
        async with room:
            reply: httpx.Response = await caller.quick.post(CHAT, json=body)
        reply.raise_for_status()
        message: dict[str, Any] = reply.json()["choices"][0]["message"]
        return message

    return await asyncio.gather(*map(ask, questions))


def compared(
    questions: Sequence[str], answers: Sequence[Answer], messages: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """How many are equal: the text of the answer, and the ids of the passages in their order."""
    different = []
    for question, answer, message in zip(questions, answers, messages, strict=True):
        retrievals = message.get("onegen", {}).get("retrievals", ())
        over_http = [[one["id"] for one in hop["passages"]] for hop in retrievals]
        direct = [[one.passage.id for one in hop.passages] for hop in answer.retrievals]
        if (message["content"], over_http) != (answer.text, direct):
            texts = {"question": question, "generate": answer.text, "http": message["content"]}
            shown = {name: cut(text) for name, text in texts.items()}
            different.append({**shown, "same passages": over_http == direct})
    return {
        "questions": len(questions),
        "equal": len(questions) - len(different),
        "retrievals": sum(len(one.retrievals) for one in answers),
        "different": different,
    }
