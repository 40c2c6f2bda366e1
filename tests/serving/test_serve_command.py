"""Bad options of `mender serve` end in one line, before anything that takes long."""

import importlib.util
import socket

import pytest

from dataset_builders.commands import command_line
from modeling_mender.commands import serve


@pytest.fixture
def run(capsys):
    def run(*words):
        status = serve.main([str(word) for word in words])
        return status, capsys.readouterr().err.strip().splitlines()

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no model to serve"),
        (["/nowhere"], "/nowhere is neither a folder nor a name"),
        (["FOLDER", "--name", "toys"], "'toys'; give a name and a folder"),
        (["FOLDER", "--name", "default=x"], "'default' twice"),
        (["--name", "a/b=FOLDER"], "'a/b'"),
        (["FOLDER", "--port", "70000"], "1..65535"),
        (["FOLDER", "--host", "no.such.host.invalid"], "cannot be used"),
        (["FOLDER", "--replicas", "0"], "replicas is 0"),
        (["FOLDER", "--timeout_s", "nan"], "timeout_s is nan"),
        (["FOLDER", "--mcp", "--replicas", "2"], "does not read --replicas"),
    ],
)
def test_a_bad_option_is_one_line(run, folder, words, message):
    pytest.importorskip("ray.serve", reason="the extra serve is not installed")
    status, errors = run(*(word.replace("FOLDER", str(folder)) for word in words))
    assert status == 1 and len(errors) == 1
    assert message in errors[0]


@pytest.mark.parametrize("options", [[], ["--mcp"]])
def test_a_port_in_use_is_named_with_the_way_out(run, folder, options):
    for extra in ("ray.serve", "mcp"):
        pytest.importorskip(extra, reason="an extra is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, errors = run(folder, "--port", port, *options)
    assert status == 1
    assert errors == [
        f"error: port {port} of 127.0.0.1 is in use; give another one with --port, or end what listens there."
    ]


@pytest.mark.parametrize(("options", "missing", "extra"), [([], "ray", "serve"), (["--mcp"], "mcp", "mcp")])
def test_a_missing_extra_is_named(run, folder, monkeypatch, options, missing, extra):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else real(name))
    requires = ["ray[serve]>=2.60; extra == 'serve'", "mcp>=2.3; extra == 'mcp'", "mcp>=2.3; extra == 'all'"]
    monkeypatch.setattr(command_line.metadata, "requires", lambda name: requires)
    status, errors = run(folder, *options)
    assert status == 1
    assert errors == [
        f"error: {missing} is not installed; it comes with the extra {extra}: "
        f"pip install 'mender-recommender[{extra}]'"
    ]
