"""The command mender: its list, its version, what it refuses, and a reader of its output that goes away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dataset_builders.commands.command_line import CommandParser, explain
from dataset_builders.commands.main import COMMANDS, main


def test_help_lists_every_command_with_what_it_does(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, command in COMMANDS.items():
        assert any(line.split() == [name, *command.description.split()] for line in lines), name


def test_without_a_command_the_list_is_shown_and_the_status_says_so(capsys):
    assert main([]) == 2
    assert "usage: mender COMMAND" in capsys.readouterr().out


def test_an_unknown_command_names_those_that_there_are(capsys):
    assert main(["weigh"]) == 2
    assert "mender has no command 'weigh'; choose one of build, " in capsys.readouterr().err
    assert main(["Trian"]) == 2
    assert "mender has no command 'Trian'; did you mean train?" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mender 0.")


CODE = {
    "a list": "from dataset_builders.commands.main import main; raise SystemExit(main(['--help']))",
    "help": "from dataset_builders.commands.main import main; raise SystemExit(main(['describe', '--help']))",
    "a long output": "from dataset_builders.commands.command_line import run_command; "
    "raise SystemExit(run_command(lambda: [print('x' * 80) for _ in range(10_000)]))",
}


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
def test_a_reader_that_goes_away_is_no_error(project, code, unbuffered):
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--version"], ["describe", "--help"], ["describe", "x"]], ids=" ".join)
def test_an_output_that_cannot_be_written_is_named_in_one_line(project, words, unbuffered):
    code = (
        "from dataset_builders.commands import describe, main; describe.describe = lambda _: print('x' * 9999) or 0; "
        f"raise SystemExit(main.main({words}))"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=project,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output") and done.stderr.count("\n") == 1
    assert "No space left on device; make room there" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--axes", "a", "--axes", "b"],
            "argument --axes: is given twice; give it once, with all of its values after",
        ),
        (["--k", "1", "--k", "1"], "argument --k: is given twice; give it once"),
        (["--k", "1", "--number", "2"], "argument --k/--number: is given twice"),
        (["--fast", "--slow"], "argument --slow: is given twice"),
        (["--path", ""], "argument --path: '' is empty; give a value, or leave it out"),
        (["--path="], "argument --path: '' is empty"),
        (["--axes", "a", " "], "argument --axes: ' ' is empty"),
        (["--share", "1e-400"], "argument --share: '1e-400' cannot be stored exactly, the nearest number is 0.0"),
        (["--share", "0.12345678901234567890"], "the nearest number is 0.12345678901234568; write that"),
        (["--share", "much"], "argument --share: invalid float value: 'much'"),
        ([""], "argument model: '' is empty"),
    ],
)
def test_a_command_line_is_refused_where_a_part_would_be_dropped_or_changed(capsys, words, message):
    parser = CommandParser()
    parser.add_argument("model", nargs="?")
    parser.add_argument("--axes", nargs="+")
    parser.add_argument("--k", *(["--number"] if "--number" in words else []), type=int)
    parser.add_argument("--fast", action="store_true", dest="fast")
    parser.add_argument("--slow", action="store_false", dest="fast")
    parser.add_argument("--path", type=Path)
    parser.add_argument("--share", type=float)
    parser.add_argument("--note", action="append")
    for _ in range(2):  # a parser may be used again
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        assert message in capsys.readouterr().err
    given = parser.parse_args(["m", "--note", "a", "--note", "b", "--share", "5e-324", "--axes", "a", "b"])
    assert (given.note, given.share, given.axes) == (["a", "b"], 5e-324, ["a", "b"])


def test_every_command_has_the_strict_parser(project):
    for command in {command.module for command in COMMANDS.values()} - {"modeling_mender.commands.train"}:
        source = (project / f"{command.replace('.', '/')}.py").read_text(encoding="utf-8")
        assert "parser = CommandParser(" in source and "ArgumentParser(" not in source, command


def test_train_refuses_an_option_that_is_given_twice_and_still_lets_options_override_its_recipe(capsys):
    with pytest.raises(SystemExit):
        main(["train", "tiger", "--seed", "1", "--seed", "2"])
    assert "argument --seed: is given twice" in capsys.readouterr().err
    assert main(["train", "tiger", "--domain", "sample", "--max_steps", "0"]) == 1
    assert "max_steps (0)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            FileNotFoundError(2, "No such file or directory", "/proc/x"),
            "/proc/x: No such file or directory; correct the",
        ),
        (
            PermissionError(13, "Permission denied", "/x"),
            "/x: Permission denied; change the rights, or choose another",
        ),
        (OSError(28, "No space left on device", "/x"), "/x: No space left on device; make room there"),
        (
            OSError(28, "cannot write (No space); make room there", "/x"),
            "/x: cannot write (No space); make room there",
        ),
        (OSError("words of ours"), "words of ours"),
        (ValueError("bad"), "bad"),
    ],
)
def test_an_error_of_the_system_names_its_path_and_a_way_out(error, said):
    assert explain(error).startswith(said) and "Errno" not in explain(error)
