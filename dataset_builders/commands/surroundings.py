"""Environment variables that OpenMP and tqdm read when they are loaded, with better defaults for commands.

What the user has set is never replaced.
"""

import os
import sys
from collections.abc import MutableMapping

SPINS = "1000"
SECONDS_BETWEEN_LINES = 30
LINE = "{desc}: {n_fmt} of {total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]\n"


def set_defaults(environment: MutableMapping[str, str] | None = None, is_terminal: bool | None = None) -> None:
    """Sets the variables of a command's process, before torch and tqdm are imported.

    GNU OpenMP lets a thread spin some milliseconds for the others before it sleeps. Where another process is busy on
    one of the cores, the others do not come, and training slows down by far more than its share (RESULTS.md, "Beside
    another process"). A thousand spins are some microseconds: enough on idle cores, and little lost on busy ones.

    Where stderr is no terminal, a progress bar would be a line in a log at every refresh. Bars print a line every
    half a minute there, and none for shorter work.

    Args:
        environment (`MutableMapping`, *optional*): `os.environ` by default.
        is_terminal (`bool`, *optional*): Whether stderr is a terminal; looked up where not given.
    """
    environment = os.environ if environment is None else environment
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environment.keys():
        environment["GOMP_SPINCOUNT"] = SPINS
    if not (sys.stderr.isatty() if is_terminal is None else is_terminal):
        environment.setdefault("TQDM_DELAY", str(SECONDS_BETWEEN_LINES))
        environment.setdefault("TQDM_MININTERVAL", str(SECONDS_BETWEEN_LINES))
        environment.setdefault("TQDM_MAXINTERVAL", str(2 * SECONDS_BETWEEN_LINES))  # a line even without progress
        environment.setdefault("TQDM_BAR_FORMAT", LINE)
