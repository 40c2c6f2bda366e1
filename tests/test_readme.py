"""README and CONTRIBUTING: nothing promised that is not there."""

import importlib
import re
import tomllib

import pytest
import yaml

from dataset_builders.benchmark.axes import AXES
from dataset_builders.building.domains import DOMAINS
from dataset_builders.commands.main import COMMANDS
from modeling_mender.methods.table import METHODS
from modeling_mender.training.recipes import parse_arguments

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def readme(project):
    return (project / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def both(readme, project):
    """README and CONTRIBUTING, which has the details."""
    return readme + (project / "CONTRIBUTING.md").read_text(encoding="utf-8")


def commands_in(text):
    """(command, words) of every `mender` in a shell block."""
    blocks = "\n".join(block for language, block in BLOCK.findall(text) if language == "bash")
    return re.findall(r"^mender ([\w-]+)(.*)", blocks.replace("\\\n", " "), re.MULTILINE)


def test_it_has_less_than_250_lines(readme):
    assert len(readme.splitlines()) < 250


def test_it_says_how_to_get_the_code_and_to_enter_the_environment_before_any_other_command(readme):
    first = next(block for language, block in BLOCK.findall(readme) if language == "bash")
    assert "git clone" in first
    assert "cd mender" in first
    assert ". .venv/bin/activate" in first
    assert readme.index(". .venv/bin/activate") < readme.index("\nmender ")


def test_the_picture_is_there_and_small(readme, project):
    (path,) = re.findall(r'<img src="([^"]+)"', readme)
    assert 0 < (project / path).stat().st_size < 150_000


def test_every_method_and_every_domain_is_in_a_table(readme):
    cells = [line.split("|")[1] for line in readme.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) >= METHODS.keys() | {"sample"}
    for domain in DOMAINS.values():
        counts = domain.paper
        assert f"| `{domain.name}` | {counts.users:,} | {counts.items:,} | {counts.actions:,} |" in readme


def test_every_link_within_these_files_leads_to_a_heading(project):
    texts = {
        name: (project / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md", "RESULTS.md")
    }
    links = [
        (target or name, anchor)
        for name, text in texts.items()
        for target, anchor in re.findall(r"\]\((\w+\.md)?#([\w-]+)\)", text)
    ]
    assert len(links) >= 10
    for target, anchor in links:
        headings = re.findall(r"^#+ (.+)$", texts[target], re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_both_commands_and_their_output_come_before_line_40(readme):
    opening = "\n".join(readme.splitlines()[:40])
    for words in ("make quickstart", "make test", "| recommendation | 600 |", "passed"):
        assert words in opening


def test_every_make_command_is_a_target(both, project):
    makefile = (project / "Makefile").read_text()
    targets = set(re.findall(r"^make ([\w-]+)", both, re.MULTILINE)) | set(re.findall(r"`make ([\w-]+)", both))
    assert targets == {"quickstart", "demo", "reproduce", "test", "test-oldest", "lint"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_continuous_integration_runs_the_readmes_test_command(project):
    assert (project / ".ci/run").read_text().strip().splitlines()[-1] == "make test"


def test_every_script_and_recipe_that_is_named_exists(both, project):
    text = both + (project / "RESULTS.md").read_text(encoding="utf-8")
    for path in re.findall(r"\b(?:scripts|tests)/[a-z\d_/]+\.(?:py|yaml|txt)", text):
        assert (project / path).is_file(), path


@pytest.mark.parametrize("page", ["README.md", "RESULTS.md"])
def test_every_training_command_has_its_recipe_and_options(project, page):
    text = (project / page).read_text(encoding="utf-8")
    found = re.findall(r"(?:scripts/train\.py|mender train) (\w+ --domain [^`#\n]*)", text)
    assert found
    for words in found:
        words = words.removesuffix("\\")  # goes on in the next line
        words = re.sub(r"--mixture M\b", "--mixture all", words).replace("--domain D ", "--domain beauty ")
        parse_arguments(re.sub(r"(--seed \d)[, \d]*", r"\1 ", words).split(), project / "scripts/recipes")


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


def test_every_command_that_is_named_exists_and_knows_its_options(both, capsys):
    shown = {}
    checked = 0
    for name, words in commands_in(both):
        if name not in shown:
            with pytest.raises(SystemExit):
                importlib.import_module(COMMANDS[name].module).main(["--help"])
            shown[name] = capsys.readouterr().out
        for option in re.findall(r"(?<= )--\w+", words.split("  #")[0]):
            assert option in shown[name], (name, option)
            checked += 1
    assert checked >= 60
    assert shown.keys() >= {"build", "learn-ids", "train", "evaluate", "recommend", "score", "compare", "tables"}


def test_an_own_recommender_is_shown_on_all_axes_with_every_way_of_asking(readme):
    assert "for axis in AXES.values():" in readme
    for axis in AXES.values():
        assert f"`{axis.name}`" in readme
        ways = re.findall(rf"`(?:{axis.name}|fine)/3(?:/(\w+))?`", readme)
        assert set(ways) >= axis.asked.keys()
