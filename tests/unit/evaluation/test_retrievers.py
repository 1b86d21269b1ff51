"""BM25, the sentence encoder, and the untrained pipeline of two models."""

import importlib.util
import sys
from array import array
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from onegen_model import OneGenModel, Passage, PassageIndex, Query
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.errors import CheckpointError, InvalidInputError, MissingExtraError
from onegen_model.evaluation.ask import sentence_encoder as encoders
from onegen_model.evaluation.ask.ranking import paragraph_of, paragraphs
from onegen_model.evaluation.ask.retrievers import (
    Bm25Retriever,
    EncoderRetriever,
    FixedQueryRetriever,
)
from onegen_model.evaluation.ask.run_folder import RunFolder
from onegen_model.evaluation.ask.sentence_encoder import PACKAGE, SentenceEncoder
from onegen_model.evaluation.ask.zero_shot import load_base
from onegen_model.places import PassagePlace
from tests.conftest import make_tokenizer
from tests.support.evaluation_world import BORG, PARAGRAPHS, evaluate, read_scores

PASSAGES = [Passage(f"{i}#0", text, title, {"paragraph": i}) for i, title, text in PARAGRAPHS]


def query(text: str, **changes: object) -> Query:
    return Query(array("f"), text, **{"top_k": 2, **changes})  # type: ignore[arg-type]


def ids(found: list[list[object]]) -> list[list[str]]:
    return [[hit.passage.id for hit in hits] for hits in found]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def encoder_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> Path:
    folder = tmp_path_factory.mktemp("tiny-encoder")
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tiny_tokenizer), intermediate_size=16, **shape)
    BertModel(config).save_pretrained(folder)
    tokenizer = deepcopy(tiny_tokenizer)
    tokenizer.chat_template = None  # an encoder's tokenizer has none
    tokenizer.save_pretrained(folder)
    return folder


def test_bm25_finds_by_words_and_nothing_without_them() -> None:
    bm25 = Bm25Retriever(PASSAGES)
    found = ids(bm25.retrieve([query("Arden Mill?"), query("Rome"), query("zebra")]))  # type: ignore[arg-type]
    assert found[0][0] == "p1#0"
    assert set(found[1]) == {"p3#0", "p4#0"}
    assert found[2] == []


def test_bm25_over_passages_without_words_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="No passage of the corpus holds a word"):
        Bm25Retriever([Passage("p", "?!")])


def test_bm25_applies_exclusions_and_filters() -> None:
    bm25 = Bm25Retriever(PASSAGES)
    asked = [query("Rome", exclude=("p4#0",)), query("Rome", filter={"paragraph": ["p4", "p1"]})]
    assert ids(bm25.retrieve(asked)) == [["p3#0"], ["p4#0"]]  # type: ignore[arg-type]


def test_an_encoder_embeds_alone_as_in_a_batch(encoder_folder: Path) -> None:
    encoder = SentenceEncoder(folder=encoder_folder)
    texts = ["short", "a much longer text about the mill"]
    together = encoder.embed(texts)
    alone = np.concatenate([encoder.embed([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-6
    assert np.abs(np.linalg.norm(together, axis=1) - 1).max() < 1e-6
    assert encoder.positions > 0
    assert encoder.embed([]).shape == (0, 16)


def test_a_folder_without_a_pooling_is_pooled_by_mean(encoder_folder: Path) -> None:
    [vector] = SentenceEncoder(folder=encoder_folder).embed(["the mill"])
    assert np.abs(vector - mean_pooled(encoder_folder, "the mill")).max() < 1e-6


@pytest.mark.weights
def test_minilm_embeds_as_by_hand() -> None:
    encoder = SentenceEncoder()
    assert (encoder.dimension, encoder.max_passage_tokens) == (384, 256)
    folder = Path(importlib.util.find_spec(PACKAGE).origin).parent / "model"  # type: ignore[union-attr, arg-type]
    texts = ["Arden Mill?", "long " * 400, "Wer besitzt die Mühle?"]
    found = encoder.embed(texts)
    tokens = AutoTokenizer.from_pretrained(folder)(texts, truncation=True, max_length=256)
    assert encoder.positions == sum(map(len, tokens.input_ids))
    for vector, text in zip(found, texts, strict=True):
        assert np.abs(vector - mean_pooled(folder, text)).max() < 1e-5


def mean_pooled(folder: Path, text: str) -> NDArray[np.float32]:
    """The unit mean of the last hidden states, by transformers alone."""
    tokens = AutoTokenizer.from_pretrained(folder)(
        text, truncation=True, max_length=256, return_tensors="pt"
    )
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state[0]
    vector: NDArray[np.float32] = torch.nn.functional.normalize(hidden.mean(0), dim=0).numpy()
    return vector


def test_an_encoder_searches_its_own_index_by_text(encoder_folder: Path) -> None:
    encoder = SentenceEncoder(folder=encoder_folder)
    index = PassageIndex.build(encoder, PASSAGES)
    text = "Arden Mill\nArden Mill belongs to Ada Berg."
    retriever = EncoderRetriever(encoder, index)
    [hits] = retriever.retrieve([query(text)])
    assert hits[0].passage.id == "p1#0"
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert retriever.retrieve([]) == []
    [other] = FixedQueryRetriever(retriever, text).retrieve([query("Rome", exclude=("p1#0",))])
    assert "p1#0" not in [hit.passage.id for hit in other]


def test_an_absent_encoder_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(encoders, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(MissingExtraError, match="no_such_package_of_weights is not installed"):
        SentenceEncoder()
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        SentenceEncoder(folder=tmp_path)


def test_without_sentence_transformers_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, encoder_folder: Path
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r'run `pip install "onegen\[encoder\]"`'):
        SentenceEncoder(folder=encoder_folder)


def test_pieces_of_a_paragraph_count_once() -> None:
    pieces = [
        Passage("p#1", "a", metadata=PassagePlace("f", "p", 1).to_metadata()),
        Passage("p#0", "b", metadata=PassagePlace("f", "p", 0).to_metadata()),
        Passage("q#7", "c"),
        Passage("x", "d", metadata={"paragraph": "p"}),
    ]
    assert [paragraph_of(one) for one in pieces] == ["p", "p", "q#7", "p"]
    assert paragraphs(pieces) == ("p", "q#7")
    assert paragraphs(pieces, depth=1) == ("p",)


@pytest.fixture
def base(here: Path, tiny_network: PreTrainedModel) -> Path:
    """A plain model: no `onegen.json`, no control tokens."""
    folder = here / "base"
    tiny_network.save_pretrained(folder)
    make_tokenizer(control=False).save_pretrained(folder)
    return folder


def test_the_untrained_pipeline_searches_once_and_answers(
    base: Path, encoder_folder: Path, tiny_network: PreTrainedModel
) -> None:
    options = ["--task", "multihop", "--corpus", "corpus.jsonl", "--out", "run", "--zero-shot"]
    options += ["--model", str(base), "--encoder", str(encoder_folder), "--max-new-tokens", "9"]
    assert evaluate(None, *options, "--baselines", "bm25") == 0
    run = RunFolder.open(Path("run"))
    assert (run.settings.pipeline, run.settings.frame) == ("zero-shot", None)
    trace = run.traces()["q2"]
    [requested], [inserted] = trace.requested, trace.inserted
    assert requested.text == BORG
    assert len(inserted.passages) == 2
    assert trace.finished.usage.prompt > inserted.num_tokens > 0
    assert trace.finished.usage.retrievals == 0  # none of the model's own
    scores = read_scores("run")
    name = f"{encoder_folder.name} {SentenceEncoder(folder=encoder_folder).fingerprint[:8]}"
    assert scores["Answers and retrieval"]["run"]["recall@5"]["value"] == 1  # of four paragraphs
    assert scores["Behaviour and cost"]["run"]["retrievals"]["value"] == 1
    assert "well-formed" not in scores["Behaviour and cost"]["run"]
    assert {one.retriever for one in run.rankings()} == {name, "bm25"}


def test_a_second_model_finds_what_ours_asks_for(
    here: Path,
    encoder_folder: Path,
    model: OneGenModel,
) -> None:
    options = ["--task", "multihop", "--corpus", "corpus.jsonl", "--out", "run", "--top-k", "1"]
    options += ["--searcher", "minilm", "--encoder", str(encoder_folder)]  # the flag's old name
    assert evaluate(model, *options) == 0
    run = RunFolder.open(Path("run"))
    encoder = SentenceEncoder(folder=encoder_folder)
    index = PassageIndex.build(encoder, PASSAGES)
    for trace in run.traces().values():
        first = trace.requested[0].text
        [[best]] = index.search(encoder.embed([first]), 1)
        assert trace.inserted[0].passages[0].passage.id == best.passage.id
    assert not (here / "run" / "index").exists()  # the model's own index was not needed
    assert read_scores("run")["Behaviour and cost"]["run"]["retrievals"]["value"] == 1.5


def test_every_retriever_ranks_for_the_question_and_for_the_span(
    here: Path, encoder_folder: Path, model: OneGenModel
) -> None:
    options = ["--task", "multihop", "--corpus", "corpus.jsonl", "--out", "run"]
    options += ["--baselines", "bm25,minilm", "--encoder", str(encoder_folder)]
    assert evaluate(model, *options) == 0
    name = f"{encoder_folder.name} {SentenceEncoder(folder=encoder_folder).fingerprint[:8]}"
    assert list(read_scores("run")["Answers and retrieval"]) == [
        "run",
        "run: BM25 (question)",
        "run: BM25 (span)",
        f"run: {name} (question)",
        f"run: {name} (span)",
    ]


def test_another_encoder_in_a_folder_of_the_same_name_is_another_run(
    here: Path,
    encoder_folder: Path,
    model: OneGenModel,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = here / "other" / encoder_folder.name
    other.mkdir(parents=True)
    for file in encoder_folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    encoder = BertModel.from_pretrained(other)
    torch.nn.init.normal_(encoder.embeddings.word_embeddings.weight)
    encoder.save_pretrained(other)
    options = ["--task", "retrieval", "--corpus", "corpus.jsonl", "--out", "run"]
    options += ["--retriever", "minilm", "--encoder"]
    assert evaluate(model, *options, str(encoder_folder)) == 0
    assert evaluate(model, *options, str(other)) == 2
    assert "run holds another run (retriever" in capsys.readouterr().err


def test_text_of_a_passage_is_no_control_token_for_the_base(base: Path) -> None:
    model = load_base(str(base), "float32")
    assert model.renderer.query_id in model.renderer.control_ids
    assert model.renderer.query_id not in model.renderer.question_ids("[RQ] <paragraph>")


def test_a_checkpoint_that_names_no_base_is_refused(
    here: Path, tiny_network: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    trained = OneGenModel(Checkpoint(tiny_network, tiny_tokenizer, CheckpointConfig(), "0" * 64))
    trained.save_pretrained(here / "whole")
    with pytest.raises(CheckpointError, match="whole names no base; expected an adapter"):
        load_base(str(here / "whole"), "float32")
    with pytest.raises(CheckpointError, match="No model absent; expected a folder"):
        load_base("absent", "float32")
    with pytest.raises(InvalidInputError, match="dtype='int3'"):
        load_base(str(here / "whole"), "int3")
