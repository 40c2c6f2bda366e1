"""A model folder whose weights are damaged is refused, never asked."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import train_tiny

from modeling_mender.hub.loading import load_recommender
from modeling_mender.methods.table import METHODS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return train_tiny("mender_steer", tmp_path_factory.mktemp("steer"))


@pytest.fixture
def weights(folder):
    """The file of the weights, put back afterwards."""
    path = folder / "model.safetensors"
    before = path.read_bytes()
    yield path
    path.write_bytes(before)


@pytest.mark.parametrize("name", METHODS)
def test_a_whole_folder_of_every_method_is_taken(tmp_path, name):
    model, processor = load_recommender(train_tiny(name, tmp_path, "t5-with-decoder"))
    assert not model.training and processor.items


@pytest.mark.parametrize("lost", ["head.start", "request_weights.table", "item_embeddings", "graph."])
def test_a_missing_weight_is_named(folder, weights, lost):
    tensors = load_file(weights)
    name = next(name for name in tensors if name.startswith(lost))
    save_file({key: value for key, value in tensors.items() if key != name}, weights, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"its weights {name} are missing"):
        load_recommender(folder)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused(folder, weights, number):
    tensors = load_file(weights)
    tensors["head.start"].view(-1)[0] = number
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"head.start hold numbers that are not finite"):
        load_recommender(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"",
    ],
    ids=["pointer", "cut", "empty"],
)
def test_a_file_that_holds_no_weights_is_one_line(folder, weights, damage):
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises((ValueError, OSError)) as refused:
        load_recommender(folder)
    assert "weights" in str(refused.value) or "safetensors" in str(refused.value)


def test_weights_of_another_shape_are_refused(folder, weights):
    tensors = load_file(weights)
    tensors["request_weights.table"] = torch.zeros(2, 2)
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="weights"):
        load_recommender(folder)
