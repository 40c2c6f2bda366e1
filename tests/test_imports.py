"""The directions of imports (who may know whom), read from the sources and tried in a fresh process."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from forked_python import server
from leaderboard_world import RANKS, make_results, write_benchmark, write_results
from transformers.dynamic_module_utils import get_imports

from dataset_builders.commands.main import COMMANDS

SUB_PACKAGES = {
    "commands", "data", "evaluation", "hub", "methods", "onnx_export", "quantization", "serving", "training",
}  # fmt: skip
NOT_ON_THE_HUB = {"__init__", "auto_classes", "bounded_parsing", "escaping", "registration"}
# Room -> rooms of its package that it never imports.
FORBIDDEN = {
    "dataset_builders": {
        "benchmark": {"building", "commands", "leaderboard", "obedience", "paper_tables", "scoring", "user_study"},
        "building": {"commands", "leaderboard", "obedience", "paper_tables", "scoring", "user_study"},
        "ranking_metrics": {
            "benchmark",
            "building",
            "commands",
            "leaderboard",
            "obedience",
            "paper_tables",
            "scoring",
            "user_study",
        },
        "scoring": {"building", "commands", "leaderboard", "obedience", "paper_tables", "user_study"},
        "leaderboard": {"building", "commands", "obedience", "user_study"},
        "paper_tables": {"building", "commands", "leaderboard", "obedience", "user_study"},
        "obedience": {"commands", "leaderboard", "paper_tables", "user_study"},
        "user_study": {"commands", "leaderboard", "obedience", "paper_tables"},
    },
    "modeling_mender": {
        "data": {"commands", "evaluation", "hub", "methods", "quantization", "serving"},
        "methods": {"commands", "evaluation", "hub", "quantization", "serving"},
        "training": {"commands", "evaluation", "hub", "quantization", "serving"},
        "evaluation": {"commands", "hub", "quantization", "serving"},
        "quantization": {"commands", "data", "evaluation", "hub", "methods", "training", "serving"},
        "hub": {"commands", "evaluation", "serving"},
        "serving": {"commands", "evaluation", "methods", "quantization", "training"},
        "onnx_export": {"commands", "data", "evaluation", "hub", "methods", "quantization", "serving", "training"},
    },
}


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


def rooms(path, package):
    """Rooms of the package that a file imports, whether by a relative or an absolute name."""
    parts = path.relative_to(package.parent).parts[:-1]
    for level, module, names in imports(path):
        base = parts[: len(parts) - level + 1] if level else ()
        full = (*base, *module.split(".")) if module else base
        if full[:1] == (package.name,):
            yield from {full[1]} if len(full) > 1 else set(names)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_knowledge_flows_one_way_between_the_rooms(project, name):
    package = project / name
    for room, forbidden in FORBIDDEN[name].items():
        assert modules(package / room), room
        for path in modules(package / room):
            assert not set(rooms(path, package)) & forbidden, path


def test_only_the_commands_of_the_models_import_the_benchmark(project):
    scripts = {path.stem for path in (project / "scripts").glob("*.py")}
    for package, other in (("modeling_mender", "dataset_builders"), ("dataset_builders", "modeling_mender")):
        for path in modules(project / package):
            absolute = {module.split(".")[0] for level, module, _ in imports(path) if level == 0}
            may = {other} if path.parent == project / "modeling_mender" / "commands" else set()
            assert not (absolute & ({other} | scripts)) - may, path


def test_a_script_is_a_wrapper_of_a_command_or_stands_alone(project):
    for path in sorted((project / "scripts").glob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        if path.name in ("on_gpu.py", "recbole_run.py"):  # each runs on its own in another environment
            continue
        assert len(lines) <= 8, path
        assert [module for _, module, _ in imports(path)][0].split(".")[1] == "commands", path


def test_the_help_of_no_command_imports_a_heavy_library(project):
    """All of them in one process: the first that imports one is named."""
    code = """
import contextlib, io, sys
from dataset_builders.commands.main import COMMANDS, main

heavy = {"torch", "duckdb", "ibis", "faiss", "matplotlib", "gradio", "sentence_transformers", "sklearn"}
heavy |= {"ray", "mcp", "fastapi"}
for name in COMMANDS:
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        main([name, "--help"])
    assert shown.getvalue().startswith(f"usage: mender {name}"), shown.getvalue()[:100]
    assert not heavy & set(sys.modules), (name, heavy & set(sys.modules))
print(len(COMMANDS))
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout) == len(COMMANDS) > 20


def test_training_and_scoring_do_without_the_libraries_of_the_builder(project):
    """A machine with a GPU needs a built benchmark, not what builds it."""
    names = ("training_run", "evaluate", "learn_ids", "recommend")
    lines = "; ".join(f"import modeling_mender.commands.{name}" for name in names)
    code = f"import sys; {lines}; print(*{{'ibis', 'duckdb', 'sqlglot', 'sklearn'}} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr[-2000:]


def test_the_benchmark_imports_neither_torch_nor_transformers_at_import_time(project):
    for path in modules(project / "dataset_builders"):
        heavy = {module.split(".")[0] for level, module, _ in imports(path, top_level_only=True) if level == 0}
        assert not heavy & {"torch", "transformers", "sentence_transformers", "faiss", "pyspark", "matplotlib"}, path


def test_files_that_reach_the_hub_import_only_their_neighbours_by_name(project):
    for path in sorted((project / "modeling_mender").glob("*.py")):
        if path.stem in NOT_ON_THE_HUB:
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
    assert known["request_values"] == set()
    assert known["recommendation_request"] == {"request_values"}
    assert known["item_log_weights"] == {"request_values"}
    assert known["semantic_ids"] == {"configuration_semantic_ids"}
    assert known["trie"] == {"item_log_weights"}
    assert known["recommendation"] == {"item_log_weights", "request_values"}
    assert known["constrained_decoding"] <= {"configuration_semantic_ids", "semantic_ids", "trie"}
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
sys.path[:0] = ["."]
from dataset_builders.commands import compare, score
from dataset_builders.commands.main import main

results, benchmark, output = sys.argv[1:]
submit = ["--model", "org/name", "--benchmark", benchmark, "--dry_run"]
print(main(["submit", results, *submit]), main(["leaderboard", results, "--output_dir", output]))
assert main(["train", "--domain", "sample"]) == 1
"""
    words = [results, write_benchmark(tmp_path / "benchmark"), tmp_path / "board"]
    run = subprocess.run([sys.executable, "-c", code, *words], cwd=project, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.strip().splitlines()[-1] == "0 0", run.stderr[-2000:]
    assert "comes with the extra models: pip install" in run.stderr


def test_a_model_from_the_hub_asks_for_torch_and_transformers_alone(project):
    """By the function that decides it: for code on the Hub, transformers refuses where an import is missing, in
    whatever function it stands. huggingface_hub, numpy and safetensors come with transformers."""
    for path in (project / "modeling_mender").glob("*.py"):
        if path.stem not in NOT_ON_THE_HUB:
            needed = {name.split(".")[0] for name in get_imports(path)} - set(sys.stdlib_module_names)
            assert needed <= {"torch", "transformers", "huggingface_hub", "numpy", "safetensors"}, path.name


@pytest.mark.parametrize(
    ("base", "package", "forbidden"),
    [
        ("sys", "dataset_builders.building.build", ("torch", "transformers", "faiss", "pyspark")),
        ("sys", "dataset_builders.building.hf_builder", ("torch", "transformers", "faiss", "pyspark")),
        # Beside what the library loads by itself: the generation of transformers 5.17 loads scikit-learn.
        ("transformers.generation.utils", "modeling_mender.auto_classes", ("dataset_builders", "peft", "sklearn")),
        ("sys", "modeling_mender", ("dataset_builders", "torch", "transformers")),
        ("sys", "modeling_mender.commands.train", ("torch",)),
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


USES = {
    "AutoConfig": "from transformers import AutoConfig; AutoConfig.for_model('mender_tok')",
    "AutoModel": "from transformers import AutoModel; from modeling_mender import TigerConfig; "
    "AutoModel._model_mapping[TigerConfig]",
    "AutoProcessor": "from transformers import AutoProcessor, AutoConfig; AutoConfig.for_model('sasrec')",
    "AutoTokenizer first": "from transformers import AutoTokenizer, AutoConfig; AutoConfig.for_model('mender_emb')",
    "AutoImageProcessor first": "from transformers import AutoImageProcessor, AutoConfig; "
    "AutoConfig.for_model('tiger')",
    "pipeline": "from transformers.pipelines import PIPELINE_REGISTRY as all; "
    "all.check_task('preference-recommendation')",
    "a class": "from modeling_mender import MenderSteer; assert MenderSteer._auto_class == 'AutoModel'",
    "a module": "from modeling_mender.modeling_tiger import Tiger; assert Tiger._auto_class == 'AutoModel'",
    "a part of one": "import modeling_mender.constrained_decoding; from transformers import AutoConfig; "
    "AutoConfig.for_model('mender_steer')",
    "a configuration": "from modeling_mender.configuration_mender import MenderTokConfig; "
    "from transformers import AutoModel; AutoModel._model_mapping[MenderTokConfig]",
    "a room": "import modeling_mender.hub.loading; from transformers import AutoConfig; "
    "AutoConfig.for_model('mender_rqvae')",
    "everything": "from modeling_mender import *; assert Tiger and MenderSteerProcessor",
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_the_classes_are_registered_whatever_is_imported_first(project, use):
    """Importing the package loads nothing; the classes must be known all the same when they are first needed.

    The process has torch already, and nothing of transformers, at whose import they are registered.
    """
    run = server().run(f"import modeling_mender; {use}", cwd=project)
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.mark.parametrize("name", ["atomic_write.py", "bounded_parsing.py", "escaping.py"])
def test_what_both_packages_need_is_the_same_in_both(project, name):
    first, second = (
        (project / package / name).read_text(encoding="utf-8").replace(package, "").split('"""', 2)[2]
        for package in ("dataset_builders", "modeling_mender")
    )
    assert first == second
