"""The command mender: its list, its version, what it refuses, and a reader of its output that goes away."""

import subprocess
import sys

import pytest

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
    "a long output": "from dataset_builders.commands.command_line import run_command; "
    "raise SystemExit(run_command(lambda: [print('x' * 80) for _ in range(10_000)]))",
}


@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
def test_a_reader_that_goes_away_is_no_error(project, code):
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
