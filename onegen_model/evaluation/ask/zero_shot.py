"""The usual pipeline of two models: one retrieval, passages in a chat prompt, an answer."""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from onegen_model.checkpoint.config import CONFIG_FILE, CheckpointConfig
from onegen_model.checkpoint.dtypes import find_dtype
from onegen_model.checkpoint.fingerprint import fingerprint_of
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.checkpoint.options import require_device
from onegen_model.checkpoint.shipped import DEFAULT_CHECKPOINT
from onegen_model.checkpoint.weights import find_base, load_weights, prepare_tokens
from onegen_model.errors import CheckpointError
from onegen_model.evaluation.ask.harness import Submission
from onegen_model.evaluation.ask.questions import GoldQuestion
from onegen_model.events import PassagesInserted, Query, RetrievalRequested
from onegen_model.generation.driver import Driver
from onegen_model.model import OneGenModel
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.retrieval.protocol import Retriever
from onegen_model.transcript.conversation import Conversation, Message
from onegen_model.transcript.template import Template

PROMPT = (
    "Answer the question from these passages, with the shortest phrase that answers it.\n\n"
    "{context}\n\nQuestion: {question}"
)


def load_base(checkpoint: str | None, dtype: str, device: str | None = None) -> OneGenModel:
    """The untrained base of a checkpoint, or the plain model in a folder.

    The prompt has no system text. Raises CheckpointError.
    """
    torch_dtype = find_dtype(dtype)
    require_device(device)
    folder = DEFAULT_CHECKPOINT if checkpoint is None else Path(checkpoint)
    if not folder.is_dir():
        raise CheckpointError(f"No model {folder}; expected a folder; download the model first")
    trained = CheckpointConfig.read(folder)
    if trained.base is None and (folder / CONFIG_FILE).exists():
        raise CheckpointError(
            f"{folder} names no base; expected an adapter, or a plain model; name the folder of "
            "the base that it was trained on"
        )
    weights = find_base(trained.base) if trained.base else folder
    network, tokenizer = load_weights(weights)
    config = CheckpointConfig(Template(system=""), trained.max_passage_tokens)
    # The engine requires control tokens in the tokenizer; it masks them, so none is written.
    prepare_tokens(network, tokenizer, config.template)
    fingerprint = fingerprint_of(network, tokenizer, weights, weights, config)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    torch.nn.Module.to(network, device=device, dtype=torch_dtype).eval()
    return OneGenModel(Checkpoint(network.requires_grad_(False), tokenizer, config, fingerprint))


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """One retrieval with the question before the model reads anything; the trace holds it."""

    model: OneGenModel
    retriever: Retriever
    sampling: SamplingParams
    top_k: int
    filter_of: Callable[[GoldQuestion], Mapping[str, Any] | None]

    @property
    def driver(self) -> Driver:
        return self.model.driver

    def submit(self, question: GoldQuestion) -> Submission:
        query = Query(array("f"), question.text, self.top_k, self.filter_of(question))
        [found] = self.retriever.retrieve([query])
        context = "\n\n".join(hit.passage.titled_text for hit in found)
        prompt = PROMPT.format(context=context, question=question.text)
        handle = self.model.submit(
            Conversation((Message("user", prompt),)),
            sampling=self.sampling,
            retrieval=RetrievalParams(mode="never"),
        )
        number, size = handle.request.id, self.model.count_tokens(context)
        return Submission(
            handle,
            (
                RetrievalRequested(number, 0, query.embedding, question.text),
                PassagesInserted(number, 0, tuple(found), size),
            ),
        )
