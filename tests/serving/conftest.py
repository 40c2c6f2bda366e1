"""Fixtures of the service: a tiny model's folder, and another one with the same catalog."""

import pytest
from serving_world import tiny_model


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory):
    """A model of another seed, whose scores differ."""
    return tiny_model(tmp_path_factory.mktemp("other"), seed=1)
