"""Leak tests of a built or downloaded benchmark directory, independent of the code that made its rows."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from .axes import AXES, HISTORY_FROM, ITEM_FROM, Axis
from .baselines import Catalog, axis_baselines
from .fingerprints import content_fingerprint, split_file
from .negation import invert, is_negative_preference
from .parquet_files import read_parquet
from .report import BuildReport, read_reports
from .schema import NUM_PREFERENCES, SPLITS, config_name, features_of
from .weaknesses import Positions, find_weaknesses

MAX_EXAMPLES = 3
NO_POSITION = "their history does not begin their user's sequence, so their position is null"
"""What a report notes of rows whose history cannot be tested."""
_Actions = dict[str, list[tuple[int, list[str] | None]]]
"""User -> (item, five preferences or None) by position."""


def check_benchmark(folder: Path | str) -> list[str]:
    """Finds violations of the benchmark's invariants: leaks of the target, unknown ids, overlapping splits, counts.

    The invariants: every preference of a row precedes its target; a history is exactly the user's window before the
    target, so that the target is in it only where the user bought it before; positions belong to their split; no
    steering or sentiment preference is in two splits, and no pair repeats; ids are in the catalog, and a second item
    is neither the target nor in the history; every set has five preferences; counts and fingerprints equal those of
    the report; weaknesses of the rows (see [`~dataset_builders.benchmark.weaknesses`]) are those that the report
    states. Balanced steering has no item as a target more often than its bound, and no more targets of test among
    those of train than the report states. Steering `as_released` guarantees neither unique pairs nor disjoint splits,
    so these are not tested there.

    A promise that the report itself says is broken, in `noted` with that count, is a property of the data and no
    violation: a public set of other makers is as it is. Without any preferences of positions, as there, whether a
    preference precedes its target cannot be tested ([`untestable`]).

    Args:
        folder (`Path`): A directory that `build_benchmark` wrote, of one domain or several.

    Returns:
        `list[str]`: One line per domain and kind of violation, with its count and a few examples; empty if there are
            no violations.

    Raises:
        FileNotFoundError: If the directory holds no report.
        ValueError: If another version wrote it.
    """
    folder = Path(folder)
    lines = []
    for report in read_reports(folder):
        try:
            broken = broken_promises(folder, report)
        except (KeyError, TypeError, AttributeError, IndexError, pa.ArrowException) as error:
            raise ValueError(
                f"{folder}: the check of {report.domain} cannot go on ({error!r:.100}): its report or its rows are "
                "not those of this version; build the benchmark again."
            ) from error
        lines += [
            f"{report.domain}: {promise}: {len(examples)} times, for example {'; '.join(examples[:MAX_EXAMPLES])}"
            for promise, examples in broken.items()
            if len(examples) != report.noted.get(promise)
        ]
    return lines


def broken_promises(folder: Path, report: BuildReport) -> dict[str, list[str]]:
    """Finds all violations in one domain, those that its report states too.

    Args:
        folder (`Path`): The benchmark directory.
        report (`BuildReport`): The report of the domain.

    Returns:
        `dict[str, list[str]]`: Kind of violation -> the places.
    """
    found: dict[str, list[str]] = {}
    for promise, example in _violations(folder, report):
        found.setdefault(promise, []).append(example)
    return found


def untestable(report: BuildReport) -> list[str]:
    """Names what [`check_benchmark`] cannot test in a domain, with the reason; empty for a build from reviews."""
    lines = [f"{count:,} {reason}" for reason, count in report.noted.items() if reason.endswith(NO_POSITION)]
    if not report.num_preferences:
        lines.append("whether a row's preference precedes its target: the data have no preferences by position")
    return [f"{report.domain}: {line}" for line in lines]


def _violations(folder: Path, report: BuildReport) -> Iterator[tuple[str, str]]:
    rows: dict[tuple[str, str], list[dict]] = {}
    read: dict[tuple[str, str], pa.Table] = {}
    for config, counts in report.rows.items():
        name = config.removeprefix(f"{report.domain}_")
        tables = {}
        for split in counts:
            if split not in SPLITS:
                yield "a split is unknown", f"{config}/{split}"
                return
            path = folder / config_name(report.domain, name) / split_file(split)
            if not path.exists():
                yield "a split is missing", str(path)
                return
            table = tables[split] = read_parquet(path, "build the benchmark again")
            if not table.schema.equals(features_of(name, table.schema.names).arrow_schema):
                yield "columns are not the published ones", f"{config}/{split}: {table.schema.names}"
                return
            if table.num_rows != counts[split]:
                yield "counts differ from the report", f"{config}/{split}: {table.num_rows}, not {counts[split]}"
            read[name, split], rows[name, split] = table, table.to_pylist()
        if content_fingerprint(tables) != report.fingerprints.get(config):
            yield "the rows are not those of the fingerprint", config
    actions: _Actions = {}
    yield from _read_actions(rows["preferences", "train"], actions)
    yield from _check_counts(actions, report)
    unknown_ids = list(_check_ids(rows, report))
    yield from unknown_ids
    for (name, split), split_rows in rows.items():
        if name in AXES and {"window", "elicited"} & set(AXES[name].promises):
            yield from _check_sequences(AXES[name], split, split_rows, actions, report)
    if report.options["steering"] in ("paper", "balanced"):
        yield from _check_steering(rows)
    if report.options["steering"] == "balanced":
        yield from _check_balance(rows, report)
    positions = Positions(read["preferences", "train"], report.options["window"])
    yield from _check_values(rows, positions)
    yield from _check_baselines(read, report)
    for weakness, count in ({} if unknown_ids else find_weaknesses(read, positions)).items():
        if report.weaknesses.get(weakness) != count:
            stated = report.weaknesses.get(weakness, "none")
            yield f"a weakness is not as the report states, {weakness}", f"{count}, stated {stated}"
    for axis in AXES.values():
        if "inversion" in axis.promises:
            yield from _check_inversions(axis.name, rows)
        if axis.metric == "all":
            yield from _check_composed(axis, rows)


def _check_counts(actions: _Actions, report: BuildReport) -> Iterator[tuple[str, str]]:
    sets = [preferences for sequence in actions.values() for _, preferences in sequence]
    found = {
        "num_users": len(actions),
        "num_actions": len(sets),
        "num_missing": sum(preferences is None for preferences in sets),
        "num_preferences": sum(len(preferences) for preferences in sets if preferences is not None),
    }
    for name, count in found.items():
        if count != getattr(report, name):
            yield "counts differ from the report", f"{name}: {count}, not {getattr(report, name)}"


def _read_actions(preferences: list[dict], actions: _Actions) -> Iterator[tuple[str, str]]:
    for row in preferences:
        where = f"user {row['user_id']}, position {row['position']}"
        sequence = actions.setdefault(row["user_id"], [])
        sequence.append((row["item_id"], row["preferences"]))
        if row["position"] != len(sequence):
            yield "positions are not 1, 2, 3, ...", where
        if row["preferences"] is None:
            continue
        if len({preference.casefold() for preference in row["preferences"]}) != NUM_PREFERENCES:
            yield "preferences are not five distinct ones", where
        if not all(preference.strip() for preference in row["preferences"]):
            yield "a preference is empty", where


def _check_ids(rows: dict[tuple[str, str], list[dict]], report: BuildReport) -> Iterator[tuple[str, str]]:
    ids = {row["item_id"] for row in rows["items", "train"]}
    if ids != set(range(1, report.num_items + 1)):
        yield "item ids are not 1..N", f"{len(ids)} ids, {report.num_items} items"
    others = {axis.other for axis in AXES.values() if axis.other}
    for (name, split), split_rows in rows.items():
        for row in split_rows:
            used = [row[column] for column in ("target", "source_item", "item_id", *others) if column in row]
            unknown = [item for item in used + row.get("history", []) if item is not None and item not in ids]
            if unknown:
                yield "ids are not in the catalog", f"{name}/{split}: {unknown[0]}"


def _check_sequences(
    axis: Axis, split: str, split_rows: list[dict], actions: _Actions, report: BuildReport
) -> Iterator[tuple[str, str]]:
    """Tests that the history is exactly the window before the position, and the preference of the position before."""
    name, window = axis.name, report.options["window"]
    is_lent = name == "fine" and report.options["steering"] == "paper"  # its history may be of an earlier split
    for row in split_rows:
        sequence, position = actions.get(row["user_id"], []), row["position"]
        if position is None:
            continue
        where = f"{name}/{split}: user {row['user_id']}, position {position}"
        first = max(0, len(sequence) - window)
        if not first < position <= len(sequence):
            yield "the position is outside the user's window", where
            continue
        is_elicited, history = "elicited" in axis.promises, [item for item, _ in sequence[first : position - 1]]
        if row["history"] != [item for item in history if not is_elicited or item != row["target"]]:
            yield "the history is not the window before the target", where
        if is_elicited:
            if row["target"] not in [*history, sequence[position - 1][0]]:
                yield "the disliked item is not of the user's window", where
            if row["preference_negative"] not in (sequence[position - 1][1] or []):
                yield "the aversion is not one of the position", where
        if axis.other and row[axis.other] in (row["target"], *row["history"]):
            yield "the second item is the target or in the history", where
        is_next = not is_elicited and axis.metric != "all"  # the target, or source_item, is the user's next item
        if is_next and row.get("source_item", row["target"]) != sequence[position - 1][0]:
            yield "the ground truth is not the user's item at that position", where
        own_split = SPLITS[max(0, 2 - (len(sequence) - position))]
        allowed = SPLITS[: SPLITS.index(split) + 1] if is_lent else (split,)
        if own_split not in allowed:
            yield "a row uses a position of another split", f"{where} is {own_split}"
        if "steering" in axis.promises and row["target"] == row["source_item"]:
            yield "steering leads back to the ground truth", where
        if "past_preference" not in axis.promises or not report.num_preferences:
            continue
        past = (sequence[position - 2][1] if position > 1 else None) or []
        said = row.get("original", row.get("preference", past[0] if past else None))
        if row.get("preferences", past) != past or said not in past:
            yield "the preference is not one of the position before the target", where


def _check_steering(rows: dict[tuple[str, str], list[dict]]) -> Iterator[tuple[str, str]]:
    trained = {(row["preference"], row["target"]) for row in rows.get(("recommendation", "train"), [])}
    owner: dict[str, str] = {}
    seen: set[tuple[str, int]] = set()
    for split in SPLITS:
        for name in [axis.name for axis in AXES.values() if "steering" in axis.promises]:
            for row in rows.get((name, split), []):
                pair = row["preference"], row["target"]
                where = f"{name}/{split}: {pair}"
                if pair in seen:
                    yield "a steering pair repeats", where
                if pair in trained:
                    yield "a steering pair is in recommendation/train", where
                if owner.setdefault(row["preference"], split) != split:
                    yield "a steering preference is in two splits", where
                seen.add(pair)


def _check_values(rows: dict[tuple[str, str], list[dict]], positions: Positions) -> Iterator[tuple[str, str]]:
    """Tests what the columns of the axes say about their rows."""
    for (name, split), split_rows in rows.items():
        is_strength = name in AXES and AXES[name].metric == "strength" and ("coarse", split) in rows
        coarse = {_asked(row) for row in rows["coarse", split]} if is_strength else set()
        for row in split_rows:
            where = f"{name}/{split}: {_asked(row)}"
            if "history_from" in row:
                users = positions.users_of.get((row["source_item"], SPLITS.index(split)), ())
                if row["history_from"] != HISTORY_FROM[len(users) < 2]:
                    yield "history_from is not what the users' actions say", where
            if row.get("item_from", ITEM_FROM[0]) not in ITEM_FROM:
                yield "item_from is neither of its values", where
            if "original" in row and row["original"] == row["preference"]:
                yield "a preference in other words is the original", where
            if is_strength and _asked(row) not in coarse:
                yield "a row of strength is none of coarse", where


def _asked(row: dict) -> tuple:
    return tuple(row.get(name) for name in ("user_id", "position", "preference", "target"))


def _check_baselines(tables: dict[tuple[str, str], pa.Table], report: BuildReport) -> Iterator[tuple[str, str]]:
    """Tests that the constant list's figures are those of the rows; the others need the encoder."""
    for name, found in report.baselines.items():
        train, test = (tables.get((name, split)) for split in ("train", "test"))
        if name not in AXES or test is None or "constant_list" not in found:
            continue
        try:
            again = axis_baselines(AXES[name], test, train, Catalog(report.num_items), names=("constant_list",))
        except ValueError as error:  # rows that no metric takes; another check names them
            yield "a baseline cannot be computed", f"{name}: {error}"
            continue
        if again.get("constant_list") != found["constant_list"]:
            yield "a baseline is not as the rows give it", f"{name}: constant_list"


def _check_balance(rows: dict[tuple[str, str], list[dict]], report: BuildReport) -> Iterator[tuple[str, str]]:
    """Tests that no item is a target too often, and no target of test is one of train but those of the report."""
    bound = report.options["steering_bound"]
    if report.steering is None and any("steering" in AXES[name].promises for name, _ in rows if name in AXES):
        yield "the report says nothing of steering", "steering is missing"
    for name in [axis.name for axis in AXES.values() if "steering" in axis.promises]:
        targets = {split: Counter(row["target"] for row in rows.get((name, split), [])) for split in SPLITS}
        for split, counts in targets.items():
            for item, count in counts.items():
                if count > bound:
                    yield f"an item is a target more than {bound} times", f"{name}/{split}: item {item}, {count} times"
        shared = [item for item in targets["test"] if item in targets["train"]]
        stated = report.steering.shared_targets.get(f"{name}_test", 0) if report.steering else 0
        if sum(targets["test"][item] for item in shared) != stated:
            yield "targets of test are targets of train", f"{name}: items {shared[:MAX_EXAMPLES]}, stated {stated}"


def _check_composed(axis: Axis, rows: dict[tuple[str, str], list[dict]]) -> Iterator[tuple[str, str]]:
    for split in SPLITS:
        steered = {
            (row["preference"], row["target"])
            for name in AXES
            if "steering" in AXES[name].promises
            for row in rows.get((name, split), [])
        }
        seen: set[tuple[str, int]] = set()
        for row in rows.get((axis.name, split), []):
            pairs = list(zip(row["preferences"], (row["target"], row[str(axis.other)]), strict=False))
            where = f"{axis.name}/{split}: {pairs}"
            if len(set(row["preferences"])) != 2 or len(row["preferences"]) != 2:
                yield "a row has not two different preferences", where
            if not steered.issuperset(pairs):
                yield "a pair is of no steering row of its split", where
            if not seen.isdisjoint(pairs):
                yield f"a {axis.name} pair repeats", where
            seen.update(pairs)


def _check_inversions(name: str, rows: dict[tuple[str, str], list[dict]]) -> Iterator[tuple[str, str]]:
    owner: dict[str, str] = {}
    seen: set[tuple[str, int]] = set()
    for split in SPLITS:
        for row in rows.get((name, split), []):
            negative = row["preference_negative"]
            where = f"{name}/{split}: {negative!r}, {row['target']}"
            if not is_negative_preference(negative):
                yield "a negative preference does not begin with Avoid, Exclude or No", where
            elif row["preference_positive"] not in (invert(negative), invert(negative, "Search for")):
                yield "the positive preference is not the inversion of the negative one", where
            if (negative, row["target"]) in seen:
                yield f"a {name} pair repeats", where
            if owner.setdefault(negative, split) != split:
                yield "a negative preference is in two splits", where
            seen.add((negative, row["target"]))
