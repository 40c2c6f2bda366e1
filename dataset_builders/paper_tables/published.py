"""Published values of the paper's tables 1, 2, 5, 6, 7, 8 and 9 (version 1), as printed, read from `published.csv`.

Nothing is mended: a relative improvement that does not follow from the figures above it stays as it is. Two things
are read, not copied:

- Table 6 heads its last columns R@5, N@5, R@10, *N@5, R@10, N@5*, R@10, N@10, which cannot be; its columns are taken
  in the order of table 1.
- TIGER's zeros on sentiment following and history consolidation (tables 1 and 6) are methods that were not asked, not
  misses: their note says `not run`, and no table shows them as a figure.

Columns of the file: `table`; `method`, our name of it, or a free one for the baselines of table 2; `variant`, a data
mixture (tables 5 and 8), `xxl` (table 9), `rajput_2023` (table 2: TIGER as its authors reported it) or nothing;
`domain`; `axis`; `metric`, where `train_minutes` and `inference_ms` are table 7's; `value`; `std`, where the same
table gives one; `note`. In table 6 `value` is the standard deviation; the method `relative_improvement` of table 1
is in percent.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

PUBLISHED_FILE = Path(__file__).with_name("published.csv")
NOT_RUN = "not run"

# table, method, variant, domain, axis, metric
Key = tuple[int, str, str, str, str, str]


@dataclass(frozen=True)
class Published:
    """A published value, with its standard deviation (if in the same table) and a note."""

    value: float
    std: float | None = None
    note: str = ""

    @property
    def was_run(self) -> bool:
        """False for a printed zero of a method that was not evaluated."""
        return self.note != NOT_RUN


@cache
def read_published() -> Mapping[Key, Published]:
    """Every published value by (table, method, variant, domain, axis, metric).

    >>> read_published()[1, "mender_tok", "", "beauty", "recommendation", "recall@10"].value
    0.0937
    """
    with PUBLISHED_FILE.open(encoding="utf-8", newline="") as file:
        return MappingProxyType(
            {
                (
                    int(row["table"]),
                    row["method"],
                    row["variant"],
                    row["domain"],
                    row["axis"],
                    row["metric"],
                ): Published(float(row["value"]), float(row["std"]) if row["std"] else None, row["note"])
                for row in csv.DictReader(file)
            }
        )
