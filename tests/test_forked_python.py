"""A forked process is told and tells what one of `subprocess` is told and tells."""

import json
import os
import signal
import subprocess
import sys

import pytest
from forked_python import Server

ABOUT = """
import json, os, sys
print(json.dumps([sys.argv, os.getcwd(), dict(os.environ), __name__, sys.stdin.read(), sys.path[0]]))
"""
ENDS = {
    "at the end": "import atexit; atexit.register(print, 'last'); print('first')",
    "with a status": "import sys; sys.exit(3)",
    "with a message": "raise SystemExit('no')",
    "with an error": "import sys; sys.stderr.write('before\\n'); raise ValueError('wrong')",
    "after its threads": "import threading, time\n"
    "threading.Thread(target=lambda: (time.sleep(0.05), print('done'))).start()",
    "by a signal": "import os; os.kill(os.getpid(), 9)",
}


@pytest.fixture(scope="module")
def small():
    """A server that has imported next to nothing."""
    return Server.of("json")


def fresh(code, *words, **options):
    return subprocess.run(
        [sys.executable, "-c", code, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, **options
    )


def test_it_has_its_words_directory_environment_and_name(small, tmp_path):
    environment = {"LC_CTYPE": "C.UTF-8", "HF_HOME": "here"}
    forked = small.run(ABOUT, "one", "two", environment=environment, cwd=tmp_path)
    assert json.loads(forked.stdout) == json.loads(fresh(ABOUT, "one", "two", env=environment, cwd=tmp_path).stdout)


@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS)
def test_it_ends_as_another_does(small, code):
    forked, other = small.run(code), fresh(code)
    assert (forked.returncode, forked.stdout) == (other.returncode, other.stdout)
    assert forked.stderr.splitlines()[-1:] == other.stderr.splitlines()[-1:]
    assert forked.stderr.splitlines()[:1] == other.stderr.splitlines()[:1]


def test_a_signal_to_its_group_ends_it_and_not_the_server(small):
    process = small.start("import time; time.sleep(100)")
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGTERM)
    assert process.communicate(timeout=30) == ("", "") and process.poll() == -signal.SIGTERM
    with pytest.raises(subprocess.TimeoutExpired):
        small.start("import time; time.sleep(0.5)").communicate(timeout=0.01)
    assert small.run("print(1)").stdout == "1\n"


def test_what_it_imports_the_next_one_has_not(small):
    assert small.run("import wave, sys; print('wave' in sys.modules)").stdout == "True\n"
    assert small.run("import sys; print('wave' in sys.modules)").stdout == "False\n"


def test_a_process_of_a_server_asks_it_for_others(small):
    code = "from forked_python import server; print(server().run('import os; print(os.getpid())').stdout.strip())"
    assert int(small.run(code).stdout) > 0
