"""The directions of imports (who may know whom), read from the sources and tried in a fresh process."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from leaderboard_world import RANKS, make_results, write_benchmark, write_results
from transformers.dynamic_module_utils import get_imports

SUB_PACKAGES = {"quantization", "training", "evaluation", "hub"}


def imports(path: Path, top_level_only: bool = False):
    """(level, module, names) of every import statement of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", tuple(alias.name for alias in node.names)


def modules(folder):
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def test_the_two_packages_never_import_each_other_nor_the_scripts(project):
    scripts = {path.stem for path in (project / "scripts").glob("*.py")}
    for package, other in (("modeling_mender", "dataset_builders"), ("dataset_builders", "modeling_mender")):
        files = modules(project / package)
        assert files
        for path in files:
            absolute = {module.split(".")[0] for level, module, _ in imports(path) if level == 0}
            assert not absolute & ({other} | scripts), path


def test_the_benchmark_imports_neither_torch_nor_transformers_at_import_time(project):
    for path in modules(project / "dataset_builders"):
        heavy = {module.split(".")[0] for level, module, _ in imports(path, top_level_only=True) if level == 0}
        assert not heavy & {"torch", "transformers", "sentence_transformers", "faiss", "pyspark", "matplotlib"}, path


def test_files_that_reach_the_hub_import_only_their_neighbours_by_name(project):
    for path in sorted((project / "modeling_mender").glob("*.py")):
        if path.name == "__init__.py":
            continue
        for level, module, names in imports(path):
            assert level < 2, path
            assert not (level == 0 and module.split(".")[0] in {"modeling_mender", "peft", "sentence_transformers"}), (
                path
            )
            if level == 1:
                assert module and "." not in module and names, path  # never `from . import x`
                assert module not in SUB_PACKAGES, path
                assert (path.parent / f"{module}.py").is_file(), path


def test_inside_the_root_knowledge_flows_one_way(project):
    root = project / "modeling_mender"
    known = {path.stem: {module for level, module, _ in imports(path) if level == 1} for path in root.glob("*.py")}
    assert known["semantic_ids"] == set()
    assert known["recommendation"] == set()
    assert known["constrained_decoding"] <= {"semantic_ids", "recommendation"}
    for name, others in known.items():
        if name.startswith("configuration_"):
            # a model that has another's parts has their configurations in its own
            assert all(other.startswith("configuration_") for other in others), name
        if name.startswith("processing_"):
            assert not any(other.startswith("modeling_") for other in others), name


def test_scoring_submitting_and_ranking_need_the_base_dependencies_alone(project, tmp_path):
    """A researcher who installs no extra: what these bring is hidden from a process that runs the commands."""
    results = write_results(tmp_path / "mine", make_results(), RANKS)
    extras = tomllib.loads((project / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {re.split(r"[\[<>=]", one)[0] for extra in extras if extra != "test" for one in extras[extra]}
    renamed = {"scikit-learn": "sklearn", "faiss-cpu": "faiss", "ibis-framework": "ibis"}
    hidden = {renamed.get(name, name.replace("-", "_")) for name in names}
    hidden -= {"packaging", "pandas", "requests", "filelock"}  # the base dependencies bring these
    assert {"torch", "transformers", "ibis", "duckdb", "matplotlib", "gradio", "sklearn"} <= hidden
    code = f"""
import sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
hide = lambda name, *rest: None if name.split(".")[0] in {sorted(hidden)!r} else find(name, *rest)
PathFinder.find_spec = staticmethod(hide)
sys.path[:0] = [".", "scripts"]
import compare_runs, evaluate_axes, make_leaderboard, submit_to_leaderboard

results, benchmark, output = sys.argv[1:]
submit = ["--model", "org/name", "--benchmark", benchmark, "--dry_run"]
print(submit_to_leaderboard.main([results, *submit]), make_leaderboard.main([results, "--output_dir", output]))
"""
    words = [results, write_benchmark(tmp_path / "benchmark"), tmp_path / "board"]
    run = subprocess.run([sys.executable, "-c", code, *words], cwd=project, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.strip().splitlines()[-1] == "0 0", run.stderr[-2000:]


def test_a_model_from_the_hub_asks_for_torch_and_transformers_alone(project):
    """By the function that decides it: for code on the Hub, transformers refuses where an import is missing, in
    whatever function it stands."""
    for path in (project / "modeling_mender").glob("*.py"):
        if path.name != "__init__.py":
            needed = {name.split(".")[0] for name in get_imports(path)} - set(sys.stdlib_module_names)
            assert needed <= {"torch", "transformers", "huggingface_hub"}, path.name


@pytest.mark.parametrize(
    ("base", "package", "forbidden"),
    [
        ("sys", "dataset_builders.builder", ("torch", "transformers", "faiss", "pyspark")),
        ("sys", "dataset_builders.datasets_builder", ("torch", "transformers", "faiss", "pyspark")),
        # Beside what the library loads by itself: the generation of transformers 5.17 loads scikit-learn.
        ("transformers.generation.utils", "modeling_mender", ("dataset_builders", "peft", "sklearn")),
    ],
)
def test_a_fresh_process_loads_no_more_than_it_should(project, base, package, forbidden):
    code = (
        f"import sys, {base}; known = set(sys.modules); import {package}; "
        f"print([name for name in {forbidden!r} if name in sys.modules.keys() - known])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.strip() == "[]"
