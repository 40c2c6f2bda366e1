"""Peak memory of this process, for the benchmarks: `ru_maxrss` would include that of the process that started it."""

import resource
from collections.abc import Callable
from pathlib import Path

_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def peak_memory() -> int:
    """The most that this process has held so far, in bytes; on Linux since [`peak_memory_above_start`] was called."""
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return _field("VmHWM")


def peak_memory_above_start(run: Callable[[], object]) -> int:
    """Memory above what is held now, at its highest during a call, in bytes.

    Outside Linux the high-water mark cannot be reset, so the figure is a lower bound.

    Args:
        run (`Callable`): What is measured.
    """
    if _CLEAR_REFS.exists():
        _CLEAR_REFS.write_text("5")
        start = _field("VmRSS")
    else:
        start = peak_memory()
    run()
    return peak_memory() - start


def _field(name: str) -> int:
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return int(dict(line.split(":", 1) for line in lines)[name].split()[0]) * 1024
