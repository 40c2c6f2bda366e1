"""Fixtures that every test may use: where the real research data lies, and a Hub that is out of reach."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import hypothesis  # noqa: E402
import pytest  # noqa: E402  (the environment must be set before any Hugging Face library is imported)
import tqdm  # noqa: E402, F401  (it reads its defaults now, before the commands set others for where no terminal is)

# a busy machine is slow, and no test is judged by its clock
hypothesis.settings.register_profile("mender", deadline=None)
hypothesis.settings.load_profile("mender")

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real research data beside the project; the test skips where it is absent."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(
            f"real research data not found at {folder.name}/ beside the project; it is never part of the repository"
        )
    return folder


@pytest.fixture
def forked_checks(monkeypatch):
    """What is published is loaded in a forked process, which starts at once; tests without this have a fresh one."""
    from forked_python import server

    from dataset_builders.commands import fresh_process

    monkeypatch.setattr(fresh_process, "start_python", server().run)
