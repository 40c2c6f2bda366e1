"""The report of a build: what it gave, what it had to leave out, and how long it took; kept in every benchmark.

Knows how a report is kept and summed up; leaves the counting to the builder.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .steering import SteeringReport

logger = logging.getLogger(__name__)

REPORT_FILE = "report.json"


@dataclass
class BuildReport:
    """What a build gave and what it could not give; saved as `report.json` and the source of the card.

    Attributes:
        notice: What the source wants said of its data, before any figure.
        num_users, num_items, num_actions, actions_per_user, actions_per_item: The columns of table 3.
        num_preferences: Actions x 5 (table 4); `num_distinct_preferences` of them are different strings.
        negative_share: Share of negative ones among all preferences (not among the distinct ones).
        rows: Config -> split -> number of rows.
        negative_rows: Axis -> split -> rows whose one preference is negative; eq. (1) and (3) admit them.
        left_out: Axis -> reason.
        skipped, noted: Raw records dropped, or kept though incomplete: reason -> count.
        steering: What did not go by the book, see [`~dataset_builders.steering.SteeringReport`].
        seconds: Stage -> wall-clock time.
    """

    domain: str
    source: str
    approximator: str
    approximator_description: str
    embedding_model: str
    min_count: int
    window: int
    seed: int
    notice: str = ""
    steering_pool: str = "all"
    num_users: int = 0
    num_items: int = 0
    num_actions: int = 0
    actions_per_user: float = 0.0
    actions_per_item: float = 0.0
    num_preferences: int = 0
    num_distinct_preferences: int = 0
    negative_share: float = 0.0
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    negative_rows: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)
    steering: SteeringReport | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "BuildReport":
        """Reads what [`to_json`] wrote."""
        values = json.loads(text)
        if values.get("steering") is not None:
            values["steering"] = SteeringReport(**values["steering"])
        return cls(**values)

    def summary(self) -> str:
        """A few lines for a terminal."""
        lines = [self.notice] if self.notice else []
        lines += [
            f"{self.domain}: {self.num_users:,} users, {self.num_items:,} items, {self.num_actions:,} actions "
            f"({self.actions_per_user:.4f} per user, {self.actions_per_item:.4f} per item)",
            f"preferences: {self.num_preferences:,}, of which {self.num_distinct_preferences:,} distinct and "
            f"{self.negative_share:.1%} negative, by {self.approximator}",
        ]
        lines += [
            f"{config}: " + " / ".join(f"{count:,} {split}" for split, count in splits.items())
            for config, splits in self.rows.items()
        ]
        lines += [f"left out: {axis}: {reason}" for axis, reason in self.left_out.items()]
        for word, counts in (("skipped", self.skipped), ("noted", self.noted)):
            lines += [f"{word}: {count:,} raw records: {reason}" for reason, count in counts.items() if count]
        for name, counts in (asdict(self.steering) if self.steering else {}).items():
            if any(counts.values()):
                lines.append(f"steering, {name}: " + ", ".join(f"{key} {n:,}" for key, n in counts.items() if n))
        lines.append("seconds: " + ", ".join(f"{stage} {spent:.1f}" for stage, spent in self.seconds.items()))
        return "\n".join(lines)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage."""
        logger.info("stage %s", name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 2)


def read_report(folder: Path | str) -> BuildReport:
    """Reads the report of a benchmark directory.

    Raises:
        FileNotFoundError: If the directory holds none.
    """
    path = Path(folder) / REPORT_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {folder} is not a benchmark that build_benchmark wrote.")
    return BuildReport.from_json(path.read_text(encoding="utf-8"))
