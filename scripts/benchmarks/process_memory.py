"""Peak memory of this process, for the benchmarks: `ru_maxrss` would include that of the process that started it."""

import resource
from pathlib import Path

_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def peak_memory_mb() -> float:
    """The most that this process has held so far, in MB; on Linux since the last [`PeakMemory`] was made."""
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    fields = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="utf-8").splitlines())
    return int(fields["VmHWM"].split()[0]) / 2**10


class PeakMemory:
    """Peak memory above what is held now. Outside Linux the mark cannot be reset, and figures are lower bounds."""

    def __init__(self) -> None:
        if _CLEAR_REFS.exists():
            _CLEAR_REFS.write_text("5")
        self._start = peak_memory_mb()

    def above_start_mb(self) -> float:
        """In MB."""
        return peak_memory_mb() - self._start
