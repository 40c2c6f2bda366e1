"""mender ablate: every term left out once, the model on disk untouched."""

import pytest
import torch

from modeling_mender.commands import ablate as ablate_terms
from modeling_mender.commands.ablation import ABLATIONS
from modeling_mender.methods.request_weights_fit import NO_WEIGHT
from modeling_mender.request_weights import COMPONENTS, PLAIN_FEATURES


def test_every_component_is_left_out_by_some_ablation_and_none_is_unknown():
    named = {name for components in ABLATIONS.values() for name in components}
    assert named == set(COMPONENTS)
    assert ABLATIONS["nothing"] == ()


def test_a_component_left_out_weighs_nothing():
    table = torch.zeros(9, len(COMPONENTS))
    table[0] = table[PLAIN_FEATURES] = NO_WEIGHT
    assert float(table[0].exp().max()) < 1e-15


def test_other_models_and_missing_axes_are_one_line(tmp_path, capsys):
    assert ablate_terms.main([str(tmp_path), "--benchmark", str(tmp_path), "--domain", "sample"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("split", ["train", "all"])
def test_only_held_out_splits_are_scored(split, tmp_path):
    with pytest.raises(SystemExit):
        ablate_terms.parse_arguments([str(tmp_path), "--benchmark", "b", "--domain", "d", "--split", split])
