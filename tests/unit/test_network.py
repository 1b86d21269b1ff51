"""Reading hidden states and logits at chosen positions of a plain Hugging Face network."""

import copy
import pickle
import threading

import pytest
import torch
from transformers import PreTrainedModel

from onegen_model.network import normalise, pad_rows, read, read_hidden
from tests.conftest import FAMILIES, MakeNetwork
from tests.support.engines import clean_read

IDS = [5, 17, 90, 3, 250, 8]


def at(*pairs: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = zip(*pairs, strict=True)
    return torch.tensor(rows), torch.tensor(columns)


@pytest.mark.parametrize("family", FAMILIES)
def test_read_equals_the_output_of_the_network(make_network: MakeNetwork, family: str) -> None:
    network = make_network(family)
    hidden, logits = clean_read(network, IDS)
    rows = pad_rows([IDS, IDS[:3]], pad_id=0)
    positions = at((0, 5), (1, 2), (0, 1))
    with torch.inference_mode():
        readout = read(network, positions, **rows)
        alone = read_hidden(network, rows["input_ids"], rows["attention_mask"], positions)
    columns = [5, 2, 1]
    assert (readout.hidden - hidden[columns]).abs().max() < 1e-5  # eager: softmax in fp32
    assert (readout.logits - logits[columns]).abs().max() < 1e-5
    assert (alone - hidden[columns]).abs().max() < 1e-5


def test_a_network_that_was_read_is_still_itself(tiny_network: PreTrainedModel) -> None:
    with torch.inference_mode():
        batch = torch.tensor([IDS])
        before = tiny_network(batch).logits
        read(tiny_network, at((0, 2)), input_ids=batch)
        assert torch.equal(tiny_network(batch).logits, before)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_network_that_was_read_can_be_copied(
    tiny_network: PreTrainedModel, duplicate: object
) -> None:
    batch = torch.tensor([IDS])
    with torch.inference_mode():
        expected = read(tiny_network, at((0, 2)), input_ids=batch)
        twin = duplicate(tiny_network)
        assert torch.equal(read(twin, at((0, 2)), input_ids=batch).hidden, expected.hidden)
        assert twin(batch).logits.shape[1] == len(IDS)


def test_threads_do_not_disturb_each_other(tiny_network: PreTrainedModel) -> None:
    shapes = []

    def embed() -> None:
        with torch.inference_mode():
            shapes.append(tiny_network(torch.tensor([IDS])).logits.shape[1])

    hook = tiny_network.get_decoder().register_forward_hook(lambda *_: run(embed))
    try:
        with torch.inference_mode():
            narrowed = read(tiny_network, at((0, 2)), input_ids=torch.tensor([IDS]))
    finally:
        hook.remove()
    assert narrowed.logits.shape[0] == 1
    assert shapes == [len(IDS)]


def run(function: object) -> None:
    """In another thread, once: the other thread's forward passes the same hook."""
    if threading.current_thread() is threading.main_thread():
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()


def test_normalised_in_single_precision() -> None:
    vectors = normalise(torch.tensor([[3.0, 4.0]], dtype=torch.bfloat16))
    assert vectors.dtype == torch.float32
    assert vectors.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
