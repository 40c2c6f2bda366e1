"""The README: nothing promised that is not there."""

import importlib
import re
import tomllib

import pytest
import yaml

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def readme(project):
    return (project / "README.md").read_text(encoding="utf-8")


def test_both_commands_and_their_output_come_before_line_40(readme):
    opening = "\n".join(readme.splitlines()[:40])
    for words in ("make quickstart", "make test", "| recommendation | 600 |", "passed"):
        assert words in opening


def test_every_make_command_is_a_target(readme, project):
    makefile = (project / "Makefile").read_text()
    readme += (project / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^make ([\w-]+)", readme, re.MULTILINE)) | set(re.findall(r"`make ([\w-]+)", readme))
    assert targets == {"quickstart", "demo", "test", "test-oldest", "lint"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_continuous_integration_runs_the_readmes_test_command(project):
    assert (project / ".ci/run").read_text().strip().splitlines()[-1] == "make test"


def test_every_script_and_recipe_that_is_named_exists(readme, project):
    for path in re.findall(r"\bscripts/[\w/]+\.(?:py|yaml)", readme):
        assert (project / path).is_file(), path


def test_the_citation_file_names_the_paper_and_the_software(project):
    citation = yaml.safe_load((project / "CITATION.cff").read_text(encoding="utf-8"))
    pyproject = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (pyproject["version"], pyproject["license"])
    assert len(citation["preferred-citation"]["authors"]) == 15


def test_the_oldest_constraints_are_the_lower_bounds(project):
    """Whoever raises a bound, or leaves one out, moves the pin that the suite is run with."""
    pyproject = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = pyproject["optional-dependencies"]
    wanted = [
        *pyproject["dependencies"],
        *(one for extra in extras if extra not in ("all", "spark") for one in extras[extra]),
    ]
    bounds = dict(re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", one).groups() for one in wanted)
    lines = (project / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins.keys() == bounds.keys()
    for name, bound in bounds.items():
        assert f"{pins[name]}.".startswith(f"{bound}."), name


def test_every_script_explains_itself(project, capsys):
    scripts = [*(project / "scripts").glob("*.py"), *(project / "scripts" / "benchmarks").glob("benchmark_*.py")]
    assert len(scripts) >= 12
    for script in scripts:
        with pytest.raises(SystemExit) as exit_:
            importlib.import_module(script.stem).main(["--help"])
        assert exit_.value.code == 0, script
        assert "--" in capsys.readouterr().out, script


def test_every_option_in_a_command_of_the_readme_is_known(readme, capsys):
    commands = [block for language, block in BLOCK.findall(readme) if language == "bash"]
    text = "\n".join(commands).replace("\\\n", " ")
    checked = 0
    for script, words in re.findall(r"scripts/(\w+)\.py(.*)", text):
        options = re.findall(r"--\w+", words)
        with pytest.raises(SystemExit):
            importlib.import_module(script).main(["--help"])
        shown = capsys.readouterr().out
        for option in options:
            assert option in shown, (script, option)
            checked += 1
    assert checked >= 8
