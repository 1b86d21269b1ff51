"""The published OneGen checkpoints: which one a folder holds, and in what format it was trained.

A folder as it was published has no `onegen.json`, and is recognised by the tokens that were added
to its tokenizer. Their ids are read from the tokenizer, because the published ones differ from what
the published code would give.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from onegen_model.errors import CheckpointError, InvalidInputError
from onegen_model.transcript.linking_format import LinkingFormat
from onegen_model.transcript.template import Template
from onegen_model.transcript.tokens import ControlTokens, token_id

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# The published checkpoints were trained on unchanged texts, without BOS and without added spaces.
TOKENIZER_OPTIONS: Mapping[str, bool] = MappingProxyType(
    {"add_prefix_space": False, "add_bos_token": False, "add_eos_token": False}
)

_QUESTION_ANSWERING = ControlTokens(
    "[Question Representation]",
    "[Document Fragment Representation]",
    "<paragraph>",
    "</paragraph>",
)
DOCUMENT_PROMPT = (
    "Represent the following document fragment and output it after the "
    "'[Document Fragment Representation]' token. \nHere are document fragment:\n"
)
"""The text before a passage that is embedded, in training data and in the templates."""

LINK_TOKEN, ENTITY_TOKEN, CONTINUE_TOKEN = "[LK]", "[SE]", "[_CONTINUE_]"
"""Of entity linking: behind a mention, behind an entity, and behind the first."""
MENTION_TAGS = ("<MENTION>", "</MENTION>")

_EMBEDDED = DOCUMENT_PROMPT + "{passage}"
_REFLECTION = (
    *("[No Retrieval]", "[Retrieval]", "[Continue to Use Evidence]", "[Irrelevant]", "[Relevant]"),
    *("[Utility:1]", "[Utility:2]", "[Utility:3]", "[Utility:4]", "[Utility:5]"),
    *("[Fully supported]", "[Partially supported]", "[No support / Contradictory]"),
)


@dataclass(frozen=True, slots=True)
class Preset:
    """A published format. `tokens` were added to its tokenizer.

    `prompt` is what training put around a `{question}`, or around a text.
    """

    name: str
    published_as: str
    tokens: frozenset[str]
    prompt: str
    template: Template
    max_passage_tokens: int = 512

    def require_rows(
        self, network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
    ) -> None:
        """Raise CheckpointError for a token without an embedding."""
        rows = network.get_input_embeddings().weight.shape[0]  # type: ignore[index]
        for token in sorted(self.tokens):
            if (number := token_id(tokenizer, token)) >= rows:
                raise CheckpointError(
                    f"Token {token!r} has the id {number}, and there are {rows} embeddings; "
                    "expected one for each token; take weights and tokenizer of one checkpoint"
                )


_MULTI_HOP_PROMPT = (
    "You are good at multi-step reasoning in QA. For complex questions, break down the process. "
    "Generate and answer sub-questions step-by-step, using retrieved documents at each stage. "
    "Output the final answer wrapped by <FINAL-ANSWER></FINAL-ANSWER>. Here is a question: "
    "{question}"
)
_SELF_RAG_PROMPT = "### Instruction:\n{question}\n\n### Response:\n"
_LINKING_PROMPT = (
    "[INST] You are good at mention detection. Identify and extract mentions of entities from "
    "the text. Please output the original text with annotations. Here, the annotation for each "
    "mention should be formatted as `<MENTION>{mention in text}</MENTION>` when displayed. "
    "\n\nTEST TEXT:\n{question} [/INST]"
)

MULTI_HOP = Preset(
    "onegen-multihop",
    "zjunlp/OneGen-MultiHop-Llama2-7B",
    frozenset(_QUESTION_ANSWERING),
    _MULTI_HOP_PROMPT,
    Template(
        tokens=_QUESTION_ANSWERING,
        system="",
        prompt=_MULTI_HOP_PROMPT,
        titled="wiki title: {title}\ncontent: {text}",
        embedded=_EMBEDDED,
    ),
)
"""Multi-hop question answering: sub-questions, paragraphs of Wikipedia, an answer in its frame.

As published:

* the prompt, its words and the space before a line break included; no chat template, no BOS;
* the passage token that the instruction in front of a passage quotes is the token itself, not its
  letters, and the vector is read at the next one;
* the query token is written by the model, and the passages follow it directly.

Otherwise than published, on purpose:

* a query embedding is read in the pass that writes: the original runs the whole transcript again
  behind its own cache, so that every position counts twice;
* a passage has one vector, read at its end; the original's have one for each sentence, each behind
  the passage tokens of those before it, and the best of them counts;
* passages are embedded once, not again at every hop, and an index holds any number of them;
* a passage that is in the context is not found again; nothing found is an empty frame;
* passages have at most 512 tokens here. The original has no limit, and trained on 1,200 with the
  instruction;
* the number of inserted passages is `RetrievalParams.top_k`, its default included; the original
  inserts 1, 5 times at most;
* the answer is the first frame that was written, wherever it is; the original looks at what was
  written last, and finds nothing where there are two;
* no text of a question or a passage becomes a control token.

The workflows for Llama 3.1 and Qwen2-7B add the same tokens and wrap the prompt in a chat template.
No such checkpoint is published, and this preset is not theirs.
"""

SELF_RAG = Preset(
    "onegen-selfrag",
    "zjunlp/OneGen-SelfRAG-Llama2-7B",
    frozenset((*_QUESTION_ANSWERING, *_REFLECTION)),
    _SELF_RAG_PROMPT,
    Template(
        tokens=_QUESTION_ANSWERING,
        system="",
        prompt=_SELF_RAG_PROMPT,
        embedded=_EMBEDDED,
        before_query="[Retrieval]",
        reflection=_REFLECTION,
    ),
)
"""Single-hop question answering with Self-RAG's reflection tokens, which are ids and no text.

As published: the prompt, `[Retrieval]` before the query token (forced with it under retrieval
"always", which is what the original measures), `title`, newline, `text` in a frame and behind the
instruction of multi-hop question answering. What a task puts around its question is left to the
caller.

Different from the original on purpose: the points named for multi-hop question answering, and

* passages come from a whole index; the original only orders a list that Contriever found;
* one answer is written with the passages in its context (one with `top_k=1`, as in training). The
  original writes one for each passage and takes the best by the probabilities of its reflection
  tokens, which are not scored here;
* under "auto" the model's own choice between `[Retrieval]` and `[No Retrieval]` holds; the original
  compares their probabilities with a threshold;
* no BOS and no space in front of a text, as in training; the scripts of the original have both;
* reflection tokens in the text of a training example stay text, so that this preset cannot be
  fine-tuned on the published data as it is.
"""

ENTITY_LINKING = Preset(
    "onegen-entity-linking",
    "zjunlp/OneGen-EntityLinking-Llama2-7B",
    frozenset((LINK_TOKEN, ENTITY_TOKEN, CONTINUE_TOKEN)),
    _LINKING_PROMPT,
    Template(
        tokens=ControlTokens(LINK_TOKEN, ENTITY_TOKEN, "", ""),
        system="",
        prompt=_LINKING_PROMPT,
        embedded="<s>{passage}",
        linking=LinkingFormat(
            system="",
            prompt=_LINKING_PROMPT,
            open=MENTION_TAGS[0],
            close=MENTION_TAGS[1],
            link=LINK_TOKEN,
            after_link=CONTINUE_TOKEN,
            tags="text",
            lead=" ",
        ),
    ),
)
"""Entity linking: the text written again, each mention in tags and with `[LK]` behind it.

As published:

* the prompt, without a chat template and without BOS, and the space between it and the written
  text that training put there;
* the tags are text, tokenised as such; the link token is followed by `[_CONTINUE_]`, which the
  model was never trained to write;
* the ids of its tokens are those of the tokenizer: the published files have `[SE]` first, the
  published code would have `[_CONTINUE_]` first;
* an entity is embedded behind `<s>`, although no prompt has it, and read at `[SE]`.

Otherwise than published, on purpose:

* the original decides freely what to write, so that text may change or be lost; here nothing but
  tags can be written beside the text;
* `[_CONTINUE_]` follows every link token; the original forces it where the ids before it are those
  of `</MENTION>[LK]`, and misses a mention whose last character joins with the tag;
* a link token in the text of a user is text, and no mention;
* the instruction that the published data puts before an entity names `[SE]` and is not known. An
  entity is embedded without one, as its name, a line break and its description. Vectors match the
  published ones only with that instruction and form: `embedded` and `titled` of the template hold
  them, in the `onegen.json` of a saved copy.

It has no tokens of a frame and was trained for nothing else: it answers no question.
"""

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {preset.name: preset for preset in (MULTI_HOP, SELF_RAG, ENTITY_LINKING)}
)


def require_preset(name: str) -> None:
    """Raise InvalidInputError for a name that no preset has."""
    if name not in PRESETS:
        raise InvalidInputError(f"preset={name!r}; expected {_names()}; change preset")


def find_preset(
    tokenizer: "PreTrainedTokenizerBase", folder: Path, name: str | None
) -> Preset | None:
    """The preset of a folder without `onegen.json`; None where it has our own control tokens.

    Raises CheckpointError for tokens of no preset, and for those of another preset than the one
    that was named.
    """
    added = frozenset(token.content for token in tokenizer.added_tokens_decoder.values())
    if name is None and added.issuperset(ControlTokens()):
        return None
    # Self-RAG's tokens include those of multi-hop question answering.
    fitting = [preset for preset in PRESETS.values() if preset.tokens <= added]
    found = max(fitting, key=lambda preset: len(preset.tokens), default=None)
    if found is None or name not in (None, found.name):
        whose = f"the control tokens of {found.name}" if found else "no control tokens of OneGen"
        raise CheckpointError(
            f"{folder} has {whose}, and no onegen.json; expected those of {name or _names()}; "
            "give a checkpoint of OneGen, or fine-tune the model first (see training/)"
        )
    _require_whole(found, added, folder)
    return found


def _require_whole(found: Preset, added: frozenset[str], folder: Path) -> None:
    """Raise CheckpointError for some tokens of a larger preset: taken for the smaller one, the
    rest would be written as text."""
    for preset in PRESETS.values():
        more = preset.tokens - found.tokens
        if preset.tokens > found.tokens and more & added:
            missing = ", ".join(sorted(more - added))
            raise CheckpointError(
                f"{folder} has some control tokens of {preset.name}, and lacks {missing}; expected "
                "all of them or none; add them to its tokenizer, or take the published files"
            )


def _names() -> str:
    return f"one of the presets {', '.join(PRESETS)}"
