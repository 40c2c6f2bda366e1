"""Every parser answers or raises an error of ours; some thousand cases here, 100,000 in the script."""

import importlib.util
import sys

import pytest

CASES = 60  # of a parser


@pytest.fixture(scope="module")
def script(project):
    spec = importlib.util.spec_from_file_location("fuzz", project / "scripts/benchmarks/fuzz.py")
    module = sys.modules["fuzz"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_parser_raises_what_is_not_ours(script):
    findings = []
    with script.targets() as every:
        for one in every:
            for text in one.valid:
                one.parse(script.as_bytes(text))
            counts, found = script.fuzz(one, CASES // one.cost, number=1)
            assert counts.total() >= CASES / one.cost / 2, one.name
            findings += found
    assert findings == []


def test_a_parser_that_lets_an_error_of_a_library_through_is_found(script):
    counts, found = script.fuzz(script.Target("numbers", lambda content: int(content.decode()), ("17",)), 100, 0)
    assert counts["answered"] > 0 < counts["other"]
    assert any("ValueError" in finding.error for finding in found)
