"""Set defaults of environment variables that OpenMP and tqdm read when imported."""

import os
import sys
from collections.abc import MutableMapping

SPINS = "1000"
SECONDS_BETWEEN_LINES = 30
LINE = "{desc}: {n_fmt} of {total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]\n"


def set_defaults(environment: MutableMapping[str, str] | None = None, is_terminal: bool | None = None) -> None:
    """Sets the variables, unless the user has set them; must run before torch and tqdm are imported.

    GNU OpenMP threads spin some milliseconds at a barrier before they sleep. If another process occupies a core, this
    slows training down by far more than the lost share (RESULTS.md, "Beside another process"); 1000 spins take some
    microseconds.

    Where stderr is no terminal, progress bars print a line every 30 seconds instead of one per refresh.

    Args:
        environment (`MutableMapping`, *optional*): `os.environ` by default.
        is_terminal (`bool`, *optional*): Whether stderr is a terminal; detected by default.
    """
    environment = os.environ if environment is None else environment
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environment.keys():
        environment["GOMP_SPINCOUNT"] = SPINS
    if not (sys.stderr.isatty() if is_terminal is None else is_terminal):
        environment.setdefault("TQDM_DELAY", str(SECONDS_BETWEEN_LINES))
        environment.setdefault("TQDM_MININTERVAL", str(SECONDS_BETWEEN_LINES))
        environment.setdefault("TQDM_MAXINTERVAL", str(2 * SECONDS_BETWEEN_LINES))  # prints even without progress
        environment.setdefault("TQDM_BAR_FORMAT", LINE)
