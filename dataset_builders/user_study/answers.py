"""Answers to a user study: appended to a file so that none is lost, read back, and what an annotator is asked next.

The Space of the page carries this file: it imports the standard library alone.
"""

import errno
import logging
import os
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from .form import ANSWERS, ANSWERS_FOLDER, PERSON, SKIPPED, Row, Step, Study, Unit, lines_of, parse_row, unit_of

logger = logging.getLogger(__name__)


class AnswerFile:
    """A new file of answers, which this process alone appends to; it appears with the first answer.

    Args:
        folder (`Path`): Of the study; the file is in its `answers/`.
    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / ANSWERS_FOLDER / f"{uuid.uuid4().hex}.jsonl"

    def append(self, rows: list[Row]) -> None:
        """Appends rows in one write; they are on the disk when this returns.

        Raises:
            OSError: If they cannot be written, as on a full disk; the file then ends with its last whole row.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = lines_of(rows)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            try:
                if os.write(descriptor, lines) < len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)


def read_rows(folder: Path) -> list[Row]:
    """Reads the answers below a folder, also while they are written, in the order in which they were given.

    Args:
        folder (`Path`): Of a study, or of a dataset with answers.

    Raises:
        ValueError: If a line is no answer; names the file and the line. The last line of a file may be cut off, as a
            kill leaves it: it is left out with a warning.
    """
    rows = []
    for path in sorted(Path(folder).rglob("*.jsonl")):
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    rows.append(parse_row(line))
                except ValueError as error:
                    if line.endswith(b"\n"):
                        raise ValueError(
                            f"{path}, line {number} is no answer of a user study ({error}); restore the file, or take "
                            "the line away."
                        ) from None
                    logger.warning("%s ends in a line that was cut off, which is left out", path)
    return sorted(rows, key=lambda row: row["time"])


class Answers:
    """Answers of people to a study: adds them, and says what an annotator is asked next. Threads may share it.

    An annotator goes on with what is begun. A new scenario is the one that most others have judged, but fewer than the
    study's `raters`: overlaps are complete even if not everybody comes.

    Args:
        study ([`Study`]): The scenarios.
        folder (`Path`): Of the study; new answers go to a file in its `answers/`.
        rows (`Iterable[Row]`): Earlier answers.
        lock (`ContextManager`, *optional*): Held while answers are written and read.
    """

    def __init__(
        self, study: Study, folder: Path, rows: Iterable[Row] = (), lock: AbstractContextManager | None = None
    ) -> None:
        self.study = study
        self._file = AnswerFile(folder)
        self._lock = lock or threading.Lock()
        self._given: dict[str, set[Unit]] = defaultdict(set)
        self._remember(rows)

    def next_step(self, annotator: str) -> Step | None:
        """The step that an annotator is asked next; `None` after the last."""
        with self._lock:
            given, begun = self._given[annotator], self._begun(annotator)
            for step in (step for number in begun for step in self.study.steps(number)):
                if not given.issuperset(self.study.units(step)):
                    return step
            others = [self._begun(other) for other in self._given if other != annotator]
        raters = {number: sum(number in one for one in others) for number in range(len(self.study.scenarios))}
        free = [
            number
            for number, count in raters.items()
            if count < self.study.raters and number not in begun and self.study.skip_unit(number) not in given
        ]
        if not free or len(begun) >= self.study.per_annotator:
            return None
        return self.study.steps(max(free, key=lambda number: (raters[number], -number)))[0]

    def num_finished(self, annotator: str) -> int:
        """Scenarios that an annotator has judged to the end."""
        with self._lock:
            given = self._given[annotator]
            units = [
                [unit for step in self.study.steps(number) for unit in self.study.units(step)]
                for number in self._begun(annotator)
            ]
            return sum(given.issuperset(one) for one in units)

    def submit(self, annotator: str, step: Step, answers: Mapping[str, str | None]) -> None:
        """Stores the answers of a step.

        Raises:
            ValueError: If a question of the step has no answer; nothing is stored then.
            OSError: If they cannot be written.
        """
        units = self.study.units(step)
        if any(answers.get(question) not in ANSWERS for *_, question in units):
            raise ValueError("Please answer every question, or skip this history.")
        self._store([self.study.row(unit, str(answers[unit[3]]), annotator, PERSON) for unit in units])

    def skip(self, annotator: str, number: int) -> None:
        """Stores that an annotator does not want to judge a scenario."""
        self._store([self.study.row(self.study.skip_unit(number), SKIPPED, annotator, PERSON)])

    def _store(self, rows: list[Row]) -> None:
        with self._lock:
            self._file.append(rows)
            self._remember(rows)

    def _remember(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if row["kind"] == PERSON and row["domain"] == self.study.domain and unit_of(row) in self.study.scenario_of:
                self._given[row["annotator"]].add(unit_of(row))

    def _begun(self, annotator: str) -> list[int]:
        """Scenarios that an annotator has begun and not skipped, in the order of the study."""
        given = self._given[annotator]
        numbers = {self.study.scenario_of[unit] for unit in given}
        return sorted(number for number in numbers if self.study.skip_unit(number) not in given)
