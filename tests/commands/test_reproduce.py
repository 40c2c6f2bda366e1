"""The reproduction of a small shop, from tables to tables: what is done, what is not done again, and what moved.

Its commands are forked from a process that has imported their libraries; how a command is really run is tried alone.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from forked_python import server
from kill_test import KINDS, MATERIALS, write_shop
from tiny_models import save_text_encoder

from dataset_builders.commands.compare import default_metrics
from dataset_builders.commands.main import main as mender
from modeling_mender.commands import reproduction_steps
from modeling_mender.hub.model_publication import weights_digest

TIGER = """
method: tiger
max_steps: 12
warmup_steps: 2
eval_steps: 4
save_steps: 2
max_eval_rows: 20
num_beams: 12
d_model: 16
d_ff: 16
num_heads: 2
d_kv: 8
num_decoder_layers: 1
num_encoder_layers: 1
bf16: false
"""
IDS = "--codebook_size 8 --hidden_sizes 16 --epochs 5 --batch_size 64 --reset_unused"
COMMAND = "from dataset_builders.commands.main import main; raise SystemExit(main())"
METHODS = ("toy_tiger", "most_popular", "constant_list", "preference_only", "history_only")
ALL = [
    "build", "learn_ids", "baselines", "train_toy_tiger_seed_0", "evaluate_toy_tiger_seed_0",
    "train_most_popular_seed_0", "evaluate_most_popular_seed_0", "train_toy_tiger_seed_1", "evaluate_toy_tiger_seed_1",
    "tables", "leaderboard",
]  # fmt: skip


class Shop:
    """Tables of a shop, an encoder and a recipe; runs reproductions of it."""

    def __init__(self, folder):
        self.folder, self.ran = folder, []
        write_shop(folder)
        words = {*KINDS, *MATERIALS, "home", "maker", "search", "for", "avoid", "look", "kettles", "title", ":", "."}
        self.encoder = save_text_encoder("bert", folder, sorted(words))
        (folder / "toy_tiger.yaml").write_text(TIGER)

    def reproduce(self, output, *more, **changes):
        """Status of a reproduction into a folder; `ran` holds the steps that it ran."""
        options = {
            "domain": ["shop"], "source": ["tables"], "interactions": [self.folder / "interactions.csv"],
            "items": [self.folder / "items.csv"], "min_count": [3], "embedding_model": [self.encoder],
            "learn_ids": [IDS], "methods": [self.folder / "toy_tiger.yaml", "most_popular"], "seeds": [0, 1],
            "threads": [1], "output_dir": [output],
        } | changes  # fmt: skip
        self.ran.clear()
        words = [word for name, values in options.items() for word in (f"--{name}", *map(str, values))]
        return mender(["reproduce", *words, *more])

    def run(self, words, folder, log, threads, append):
        """Stands for the function that runs a command."""
        self.ran.append(log.stem)
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        done = server().run(COMMAND, *words, environment=environment, cwd=folder)
        log.parent.mkdir(exist_ok=True)
        log.write_text(done.stdout + done.stderr)
        return done.returncode, 0


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(autouse=True)
def forked(shop, monkeypatch):
    monkeypatch.setattr(reproduction_steps, "_run_command", shop.run)


@pytest.fixture(scope="module")
def finished(shop, tmp_path_factory):
    """A reproduction that ran to its end."""
    folder = tmp_path_factory.mktemp("finished") / "shop"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reproduction_steps, "_run_command", shop.run)
        assert shop.reproduce(folder) == 0
    assert shop.ran == ALL
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(finished, tmp_path / "copy")


def facts_of(folder):
    return json.loads((folder / "reproduction.json").read_text())


def test_one_command_leads_from_raw_tables_to_tables_comparisons_figures_and_a_leaderboard(finished):
    for name in ("tables/tables.md", "tables/tables.csv", "leaderboard/index.html", "comparisons.md"):
        assert (finished / name).stat().st_size > 100, name
    assert list((finished / "tables").glob("figure_*.png"))
    facts = facts_of(finished)
    assert tuple(facts["figures"]) == METHODS
    recall = facts["figures"]["toy_tiger"]["recommendation"]["recall@10"]
    of_seeds = [json.loads((finished / f"results/toy_tiger/seed_{seed}/results.json").read_text()) for seed in (0, 1)]
    values = [one["axes"]["recommendation"]["with_preference"]["recall@10"] for one in of_seeds]
    assert recall["mean"] == pytest.approx(sum(values) / 2)
    assert recall["intervals"][0][0] <= values[0] <= recall["intervals"][0][1]
    (test,) = [
        one for one in facts["comparisons"]["toy_tiger minus most_popular"]
        if (one["axis"], one["metric"]) == ("recommendation", "recall@10")
    ]  # fmt: skip
    popular = facts["figures"]["most_popular"]["recommendation"]["recall@10"]["mean"]
    assert test["difference"] == pytest.approx(recall["mean"] - popular)


def test_the_page_states_time_disk_threads_and_machine_of_every_step(finished):
    page = (finished / "reproduction.md").read_text()
    facts = facts_of(finished)
    assert list(facts["steps"]) == ALL
    for name, step in facts["steps"].items():
        files = [
            path for path in (finished / step["output"]).rglob("*") if path.is_file() and "step_" not in str(path)
        ]
        assert step["bytes"] == sum(path.stat().st_size for path in files) > 0
        assert f"| {name} | {step['seconds']:.1f} | " in page
        assert (step["threads"], step["runs"]) == (1, 1)
        assert {"processor", "cores", "memory_gib", "torch"} <= step["machine"].keys()
    assert facts["steps"]["build"]["machine"]["processor"] in page
    assert facts["bytes"] >= sum(step["bytes"] for step in facts["steps"].values())


def test_a_second_run_does_nothing_and_a_dry_run_says_so(shop, finished, capsys):
    before = (finished / "reproduction.md").read_text()
    assert shop.reproduce(finished) == 0
    assert shop.ran == []
    assert capsys.readouterr().out.count(": there\n") == len(ALL)
    assert (finished / "reproduction.md").read_text() == before
    assert shop.reproduce(finished, "--dry_run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(ALL) and all(line.startswith("there: ") for line in lines[1:])
    assert shop.reproduce(finished.with_name("none"), "--dry_run") == 0
    assert capsys.readouterr().out.count("new: ") == len(ALL) and not finished.with_name("none").exists()


def test_the_commands_of_the_page_are_those_of_the_readme(finished):
    commands = (finished / "reproduction.md").read_text().split("```bash\n")[1].split("```")[0].splitlines()
    assert [line.split()[:2] for line in commands][:3] == [
        ["mender", one] for one in ("build", "learn-ids", "baselines")
    ]
    assert str(finished) not in "".join(commands)  # they are the same in any folder


@pytest.mark.parametrize(
    ("changes", "ran"),
    [
        ({"seeds": [0]}, ["tables", "leaderboard"]),
        ({"seeds": [0, 1], "methods": ["most_popular"]}, ["tables", "leaderboard"]),
        ({"seeds": [2]}, [
            "train_toy_tiger_seed_2", "evaluate_toy_tiger_seed_2", "train_most_popular_seed_2",
            "evaluate_most_popular_seed_2", "tables", "leaderboard",
        ]),
    ],
    ids=["fewer seeds", "fewer methods", "another seed"],
)  # fmt: skip
def test_a_changed_option_repeats_what_depends_on_it_and_nothing_else(shop, copy, changes, ran):
    assert shop.reproduce(copy, **changes) == 0
    assert shop.ran == ran


def test_a_changed_recipe_trains_again_from_the_start_and_leaves_the_others(shop, copy):
    recipe = copy.parent / "toy_tiger.yaml"
    recipe.write_text(TIGER.replace("max_steps: 12", "max_steps: 6"))
    methods = [recipe, "most_popular"]
    assert shop.reproduce(copy, methods=methods, seeds=[0]) == 0
    names = ["train_toy_tiger_seed_0", "evaluate_toy_tiger_seed_0", "tables", "leaderboard"]
    assert shop.ran == names
    state = json.loads((copy / "models/toy_tiger/seed_0/model/training_state.json").read_text())
    assert max(one["step"] for one in state["history"]) <= 6


def test_semantic_ids_learned_otherwise_leave_what_does_not_read_them(shop, copy, capsys):
    assert shop.reproduce(copy, "--dry_run", learn_ids=[f"{IDS} --seed 5"]) == 0
    states = [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    after = "after learn_ids"
    assert states[:7] == ["there", "changed", "there", after, "after train_toy_tiger_seed_0", "there", "there"]


def test_a_changed_raw_table_repeats_the_build(shop, finished, capsys):
    """Its content counts: the same words of the command name another table."""
    table = shop.folder / "items.csv"
    before = table.read_bytes()
    try:
        table.write_bytes(before.replace(b"Ivory kettle", b"Cedar kettle"))
        assert shop.reproduce(finished, "--dry_run") == 0
    finally:
        table.write_bytes(before)
    states = [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert states[0] == "changed" and set(states[1:3]) == {"after build"} and "there" not in states


def test_a_training_that_is_killed_goes_on_from_its_checkpoint_and_ends_as_if_undisturbed(
    shop, finished, copy, monkeypatch, capsys
):
    name = "train_toy_tiger_seed_1"
    trained = copy / "models/toy_tiger/seed_1"
    for path in (trained, copy / "results/toy_tiger/seed_1"):
        shutil.rmtree(path)
    for one in (name, "evaluate_toy_tiger_seed_1"):
        (copy / f"steps/{one}.json").unlink()

    def run_and_kill(words, folder, log, threads, append):
        shop.ran.append(log.stem)
        process = server().start(COMMAND, words, os.environ | {"OMP_NUM_THREADS": str(threads)}, folder)
        while not list(trained.glob("checkpoints/step_*")) and process.poll() is None:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.poll(None)
        log.write_text("")
        return process.returncode, 0

    monkeypatch.setattr(reproduction_steps, "_run_command", run_and_kill)
    assert shop.reproduce(copy) == 1
    assert shop.ran == [name]
    error = capsys.readouterr().err
    assert f"{name} failed: exit status -9" in error and "the same command continues" in error
    assert not list(trained.glob("checkpoints/step_12"))
    assert shop.reproduce(copy, "--dry_run") == 0
    assert capsys.readouterr().out.count("interrupted: ") == 1
    monkeypatch.setattr(reproduction_steps, "_run_command", shop.run)
    assert shop.reproduce(copy) == 0
    assert shop.ran == [name, "evaluate_toy_tiger_seed_1", "tables", "leaderboard"]
    assert facts_of(copy)["steps"][name]["runs"] == 2
    assert weights_digest(trained / "model") == weights_digest(finished / "models/toy_tiger/seed_1/model")
    assert shop.reproduce(finished, "--compare", str(copy)) == 0
    assert "\n0 figures differ" in capsys.readouterr().out


def test_checkpoints_may_be_removed_when_all_is_done(shop, copy):
    shutil.rmtree(copy / "models/toy_tiger/seed_0/checkpoints")
    assert shop.reproduce(copy) == 0
    assert shop.ran == []


def test_a_file_that_is_gone_is_made_again(shop, copy):
    (copy / "results/most_popular/seed_0/rows.parquet").unlink()
    assert shop.reproduce(copy) == 0
    assert shop.ran[0] == "evaluate_most_popular_seed_0"


class TestCompare:
    def test_a_copy_is_equal_to_the_byte(self, shop, finished, copy, capsys):
        assert shop.reproduce(finished, "--compare", str(copy)) == 0
        shown = capsys.readouterr().out
        assert shop.ran == []
        for name, step in facts_of(finished)["steps"].items():
            number = len(step["files"])
            assert f"| {name} | {number} | {number} | 0 |  |" in shown
        assert "Commands that differ" not in shown and "other rows" not in shown
        assert "\n0 figures differ, " in shown

    def test_figures_that_moved_are_shown_with_the_interval_of_the_difference(self, shop, finished, copy, capsys):
        recipe = copy.parent / "toy_tiger.yaml"
        recipe.write_text(TIGER.replace("max_steps: 12", "max_steps: 4"))
        assert shop.reproduce(copy, methods=[recipe, "most_popular"], threads=[2]) == 0
        capsys.readouterr()
        assert shop.reproduce(finished, "--compare", str(copy)) == 0
        shown = capsys.readouterr().out
        (line,) = [one for one in shown.splitlines() if one.startswith("| toy_tiger | recommendation | ndcg@10")]
        cells = [cell.strip() for cell in line.split("|")]
        low, high = map(float, cells[7].split(" .. "))
        assert low <= float(cells[6]) <= high
        assert float(cells[4].split()[0]) - float(cells[5].split()[0]) == pytest.approx(float(cells[6]), abs=2e-4)
        assert "most_popular | recommendation" not in shown
        assert "| train_toy_tiger_seed_0 | " in shown and "model/model.safetensors" in shown

    def test_other_rows_are_said_to_be_others(self, shop, finished, copy, capsys):
        assert shop.reproduce(copy, max_rows=[10]) == 0
        scored = [name for name in ALL if name.startswith("evaluate_")]
        assert shop.ran == ["baselines", *scored, "tables", "leaderboard"]
        capsys.readouterr()
        assert shop.reproduce(finished, "--compare", str(copy)) == 0
        shown = capsys.readouterr().out
        lines = [one for one in shown.splitlines() if one.startswith("| toy_tiger | ")]
        assert lines and all("other rows" in line for line in lines)
        num_equal, num_apart = map(int, re.search(r"(\d+) are equal on .*, (\d+) have equal means on", shown).groups())
        small = [
            metric
            for figures in facts_of(finished)["figures"].values()
            for axis, found in figures.items() if found["num_rows"] <= 10  # the same rows in both
            for metric in default_metrics(axis) if metric in found
        ]  # fmt: skip
        assert num_equal == len(small) and num_apart > 0
        (line,) = [one for one in shown.splitlines() if "--max_rows" in one]
        assert line.startswith("- only in the second: `--max_rows 10`. Steps: baselines, evaluate_toy_tiger_seed_0, ")

    def test_of_two_folders_with_other_seeds_those_of_both_are_compared(self, shop, finished, copy, capsys):
        assert shop.reproduce(copy, seeds=[0]) == 0
        capsys.readouterr()
        assert shop.reproduce(finished, "--compare", str(copy)) == 0
        shown = capsys.readouterr().out
        assert "| train_toy_tiger_seed_1 | | | | only in the first |" in shown
        assert "\n0 figures differ, " in shown

    def test_facts_that_were_changed_are_refused(self, shop, finished, copy, capsys):
        path = copy / "reproduction.json"
        path.write_text(path.read_text().replace('"threads": 1', '"threads": 2'))
        assert shop.reproduce(finished, "--compare", str(copy)) == 1
        assert f"error: {path} cannot be read (it was changed" in capsys.readouterr().err

    def test_a_folder_that_is_not_finished_is_one_line(self, shop, finished, tmp_path, capsys):
        assert shop.reproduce(finished, "--compare", str(tmp_path)) == 1
        assert f"error: {tmp_path / 'reproduction.json'} does not exist" in capsys.readouterr().err


def test_the_help_gives_no_default_of_the_domain_which_is_required(capsys):
    with pytest.raises(SystemExit):
        mender(["reproduce", "--help"])
    assert "(default: )" not in " ".join(capsys.readouterr().out.split())


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"seeds": [0, 0]}, "seeds holds 0 twice"),
            ({"seeds": [-1]}, "seeds (-1) must be an integer of at least 0"),
            ({"threads": [0]}, "threads (0) must be an integer of at least 1"),
            ({"max_rows": [-1]}, "max_rows (-1) must be"),
            ({"methods": ["nosuch"]}, "recipe nosuch does not exist"),
            ({"methods": ["tiger", "tiger_all_prefixes"]}, "would be one line of the tables, tiger"),
            ({"items": ["nosuch.csv"]}, "nosuch.csv does not exist"),
            ({"learn_ids": ["--epochs 0"]}, '--learn_ids "--epochs 0": --epochs (0) must be'),
            ({"learn_ids": ["--epochs '5"]}, '--learn_ids "--epochs \'5": No closing quotation; see mender learn-ids'),
            (
                {"learn_ids": ["--foo 3"]},
                '--learn_ids "--foo 3": unrecognized arguments: --foo 3; see mender learn-ids',
            ),
            ({"learn_ids": ["--epochs abc"]}, '--learn_ids "--epochs abc": argument --epochs: invalid int value'),
        ],
    )
    def test_what_would_fail_later_is_refused_before_the_work(self, shop, tmp_path, capsys, changes, message):
        assert shop.reproduce(tmp_path / "out", **changes) == 1
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
        assert shop.ran == [] and not (tmp_path / "out").exists()

    @pytest.mark.parametrize("more", [[], ["--dry_run"]], ids=["run", "dry run"])
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--domain", "nope"], "domain 'nope' is none of the paper's"),
            (["--domain", "my shop"], "The domain 'my shop' must be ASCII letters"),
            (["--domain", "my shop", "--amazon_category", "Gift_Cards"], "The domain 'my shop' must be ASCII letters"),
            (["--domain", "yelp"], "the domain yelp cannot be downloaded"),
            (["--domain", "beauty", "--items", "x.csv"], "does not take --items"),
            (["--domain", "beauty", "--journal", "x.jsonl"], "--journal x.jsonl does not exist"),
            (["--domain", "beauty", "--first_day", "2019-01-01"], "does not take --first_day"),
            (["--domain", "beauty", "--window", "1"], "window (1) must be at least 2"),
        ],
    )
    def test_a_domain_that_the_build_refuses_is_refused_before_it(
        self, shop, tmp_path, capsys, monkeypatch, words, message, more
    ):
        monkeypatch.chdir(tmp_path)
        shop.ran.clear()
        assert mender(["reproduce", *words, *more]) == 1
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
        assert shop.ran == [] and not list(tmp_path.iterdir())

    def test_a_domain_that_is_downloaded_is_planned_without_its_files(self, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert mender(["reproduce", "--domain", "beauty", "--dry_run"]) == 0
        assert "new:          mender build --domain beauty" in capsys.readouterr().out

    def test_a_folder_that_something_else_has_made_is_not_touched(self, shop, tmp_path, capsys):
        (tmp_path / "out/tables").mkdir(parents=True)
        (tmp_path / "out/tables/mine.md").write_text("x")
        assert shop.reproduce(tmp_path / "out") == 1
        assert "out/tables exists, and no reproduction has made it; move it away" in capsys.readouterr().err
        assert shop.ran == []

    def test_a_file_of_the_user_in_a_model_is_not_lost(self, shop, copy, capsys):
        (copy / "models/toy_tiger/seed_0/model/thesis.docx").write_text("x")
        recipe = copy.parent / "toy_tiger.yaml"
        recipe.write_text(TIGER.replace("max_steps: 12", "max_steps: 6"))
        assert shop.reproduce(copy, methods=[recipe, "most_popular"]) == 1
        assert "holds thesis.docx" in capsys.readouterr().err
        assert (copy / "models/toy_tiger/seed_0/model/thesis.docx").is_file()

    @pytest.mark.parametrize(
        "record", ['{"runs": 1}', "{}", "[]", "{", '{"digest": "2afb9b83f9314e5d029766197f539792"}']
    )
    def test_a_record_that_was_changed_or_is_of_another_version_is_named(self, shop, copy, capsys, record):
        path = copy / "steps/tables.json"
        path.write_text(record)
        assert shop.reproduce(copy) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"error: {path} cannot be read") and error.count("\n") == 1
        assert f"remove it and {copy / 'tables'}" in error

    def test_a_command_that_fails_is_named_with_its_error_and_its_log(self, shop, tmp_path, capsys):
        assert shop.reproduce(tmp_path / "out", learn_ids=["--codebook_size 999"]) == 1
        error = capsys.readouterr().err
        assert ". Its log is " in error and error.endswith("; mend that, and the same command continues.\n")
        assert "error: learn_ids failed: " in error and "999" in error and "logs/learn_ids.log" in error
        assert error.count("\n") == 1
        assert shop.ran == ["build", "learn_ids"]


@pytest.mark.parametrize("line", ["name its --source and files", "name its --source and files."])
def test_the_error_of_a_step_ends_in_one_full_stop(shop, copy, monkeypatch, capsys, line):
    (copy / "results/most_popular/seed_0/rows.parquet").unlink()

    def fail(words, folder, log, threads, append):
        log.write_text(f"error: {line}\n")
        return 1, 0

    monkeypatch.setattr(reproduction_steps, "_run_command", fail)
    assert shop.reproduce(copy) == 1
    log = copy / "logs/evaluate_most_popular_seed_0.log"
    assert capsys.readouterr().err == (
        "error: evaluate_most_popular_seed_0 failed: name its --source and files. "
        f"Its log is {log}; mend that, and the same command continues.\n"
    )


class TestRun:
    """How a command is run; what stands for it elsewhere is undone."""

    @pytest.fixture(autouse=True)
    def real(self, forked, monkeypatch):
        monkeypatch.undo()

    def test_a_command_runs_in_the_folder_by_the_same_code_and_threads_into_its_log(self, tmp_path, monkeypatch):
        code = (
            "import os, sys; assert {0}; print(os.getcwd(), os.environ['OMP_NUM_THREADS'], *sys.argv[1:]); sys.exit(3)"
        )
        monkeypatch.setattr(reproduction_steps, "_RUN", code)
        for append in (False, True):
            done = reproduction_steps._run_command(["a", "b"], tmp_path, tmp_path / "logs/x.log", 7, append)
            assert done == (3, 0)
        assert (tmp_path / "logs/x.log").read_text() == 2 * f"{tmp_path} 7 a b\n"

    def test_the_command_mender_is_found_wherever_it_runs(self, tmp_path):
        assert reproduction_steps._run_command(["--version"], tmp_path, tmp_path / "x.log", 1, False) == (0, 0)
        assert (tmp_path / "x.log").read_text().startswith("mender 0.")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_is_passed_on_and_the_command_may_end_in_its_own_time(self, tmp_path, monkeypatch, number):
        code = (
            "import signal, time\n"
            "def stop(number, _): time.sleep(0.3); print('saved', flush=True); raise SystemExit(128 + number)\n"
            "for one in (signal.SIGINT, signal.SIGTERM): signal.signal(one, stop)\n"
            "print('ready', flush=True); time.sleep(60)"
        )
        monkeypatch.setattr(reproduction_steps, "_RUN", code)
        log = tmp_path / "x.log"

        def send():
            while not (log.is_file() and "ready" in log.read_text()):
                time.sleep(0.01)
            os.kill(os.getpid(), number)

        thread = threading.Thread(target=send)
        thread.start()
        before = signal.getsignal(number)
        assert reproduction_steps._run_command([], tmp_path, log, 1, False) == (128 + number, number)
        thread.join()
        assert signal.getsignal(number) is before
        assert log.read_text().splitlines()[-1] == "saved"

    def test_an_interrupted_reproduction_has_the_status_of_its_signal(self, shop, copy, monkeypatch, capsys):
        (copy / "results/most_popular/seed_0/rows.parquet").unlink()
        monkeypatch.setattr(reproduction_steps, "_run_command", lambda *_: (130, signal.SIGINT))
        assert shop.reproduce(copy) == 130
        assert capsys.readouterr().err == "evaluate_most_popular_seed_0 is interrupted; the same command continues\n"


def test_two_reproductions_do_not_share_a_folder(shop, finished, project):
    code = (
        "import sys, time\nfrom dataset_builders.atomic_write import hold_directory\n"
        "with hold_directory(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, finished], cwd=project, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        assert shop.reproduce(finished) == 1
    finally:
        other.kill()
        other.wait()
