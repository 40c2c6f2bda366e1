"""Form of the user study (appendix F): scenarios, the questions asked about them, and answers as rows of a dataset.

The Space of the page carries this file: it imports the standard library alone.
"""

import json
import unicodedata
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

FORM = 1
"""Version of the questions' words."""
STUDY_FILE, ANSWERS_FOLDER = "study.json", "answers"
QUESTIONS = {
    "informed": "Does this sentence go back to what the customer bought or wrote?",
    "accurate": "Is this what the customer likes, or wants to avoid?",
    "related": "Does this sentence have to do with the next purchase?",
}
"""The three questions of appendix F, in words of our own."""
HINTS = {
    "informed": "No: nothing in the history speaks of it, so it is made up.",
    "accurate": "No: the history speaks against it, or it misses the point.",
    "related": "No: the next purchase is of another kind.",
}
OF_PREFERENCE, OF_MATCH = ("informed", "accurate"), ("related",)
"""Questions about each preference, and about the one that is matched to the next item."""
ANSWERS = {"yes": "Yes", "no": "No", "cannot_tell": "Too little information"}
SKIP, SKIPPED = "scenario", "skipped"
"""Question and answer in the row of a scenario that an annotator does not want to judge."""
PERSON, MODEL = "person", "model"
LONGEST_NAME = 40

Unit = tuple[str, int, str, str]
"""What is judged: (user_id, position, preference, question)."""
Row = dict[str, Any]
"""An answer: the columns of [`COLUMNS`]."""
COLUMNS: dict[str, type] = {
    "domain": str,
    "user_id": str,
    "position": int,
    "preference": str,
    "question": str,
    "answer": str,
    "annotator": str,
    "kind": str,
    "form": int,
    "time": str,
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A history, the preferences that were generated from it, and the next item.

    Attributes:
        user_id (`str`), position (`int`): Of the next item, as in the benchmark.
        history (`list[dict]`): What the user bought, oldest first: `title`, `brand`, `categories`, `price`, `rating`
            and `review`, as far as there are any.
        preferences (`list[str]`): Distinct.
        matched (`int`): Index of the preference that the benchmark matched to the next item (eq. 1).
        target (`dict`): The next item, without rating and review.
    """

    user_id: str
    position: int
    history: list[dict[str, Any]]
    preferences: list[str]
    matched: int
    target: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One page of the form: some questions about one preference of one scenario, by their indices."""

    scenario: int
    preference: int
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """The scenarios of a study, and how they are spread over annotators.

    Attributes:
        benchmark, domain, split, source (`str`): What the scenarios were drawn from.
        seed (`int`): Random seed of the draw.
        raters (`int`): People that each scenario is given to.
        per_annotator (`int`): Scenarios of one person, at most.
        scenarios (`tuple[Scenario, ...]`): In the order in which they are given out.
    """

    benchmark: str
    domain: str
    split: str
    source: str
    seed: int
    raters: int
    per_annotator: int
    scenarios: tuple[Scenario, ...]

    def steps(self, number: int) -> list[Step]:
        """Steps of a scenario: each preference, then the matched one beside the next item, shown only now."""
        scenario = self.scenarios[number]
        steps = [Step(number, index, OF_PREFERENCE) for index in range(len(scenario.preferences))]
        return [*steps, Step(number, scenario.matched, OF_MATCH)]

    def units(self, step: Step) -> list[Unit]:
        """What a step asks about, one unit per question."""
        scenario = self.scenarios[step.scenario]
        text = scenario.preferences[step.preference]
        return [(scenario.user_id, scenario.position, text, question) for question in step.questions]

    def skip_unit(self, number: int) -> Unit:
        """The unit in the row of a scenario that is skipped."""
        scenario = self.scenarios[number]
        return (scenario.user_id, scenario.position, "", SKIP)

    @cached_property
    def scenario_of(self) -> dict[Unit, int]:
        """Number of the scenario of every unit."""
        numbers = range(len(self.scenarios))
        units = {unit: number for number in numbers for step in self.steps(number) for unit in self.units(step)}
        return units | {self.skip_unit(number): number for number in numbers}

    def row(self, unit: Unit, answer: str, annotator: str, kind: str) -> Row:
        """The row of an answer, with the present time."""
        user_id, position, preference, question = unit
        return {
            "domain": self.domain,
            "user_id": user_id,
            "position": position,
            "preference": preference,
            "question": question,
            "answer": answer,
            "annotator": annotator,
            "kind": kind,
            "form": FORM,
            "time": datetime.now(UTC).isoformat(timespec="microseconds"),
        }

    def write(self, folder: Path) -> None:
        """Writes `study.json` into a new folder."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"
        # half of a surrogate pair could not be sent to a browser
        (folder / STUDY_FILE).write_bytes(text.encode("utf-8", "replace"))


def read_study(folder: Path) -> Study:
    """Reads `study.json` of a folder.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not of the form that `mender draw-study` writes.
    """
    path = Path(folder) / STUDY_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {STUDY_FILE}; make the folder with mender draw-study.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        scenarios = tuple(Scenario(**one) for one in value.pop("scenarios"))
        study = Study(**value, scenarios=scenarios)
        _require(type(study.domain) is str, f"domain is {study.domain!r:.80}")
        for count in (study.raters, study.per_annotator, len(scenarios)):
            _require(type(count) is int and count >= 1, "raters, per_annotator and scenarios must be at least 1")
        for scenario in scenarios:
            _check_scenario(scenario)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no study ({error}); draw it again with mender draw-study.") from error
    return study


def unit_of(row: Row) -> Unit:
    """What a row is about."""
    return (row["user_id"], row["position"], row["preference"], row["question"])


def parse_row(line: bytes | str) -> Row:
    """Reads the line of an answer.

    Raises:
        ValueError: If it is none, with the reason.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from None
    _require(isinstance(row, dict), "no object")
    _require(row.keys() == COLUMNS.keys(), f"it needs the columns {', '.join(COLUMNS)} and no others")
    for name, kind in COLUMNS.items():
        _require(type(row[name]) is kind, f"{name} is {row[name]!r:.80}")
    _require(row["question"] in (*QUESTIONS, SKIP), f"there is no question {row['question']!r:.80}")
    allowed = (SKIPPED,) if row["question"] == SKIP else ANSWERS
    _require(row["answer"] in allowed, f"{row['answer']!r:.80} does not answer {row['question']}")
    _require(row["kind"] in (PERSON, MODEL), f"kind is {row['kind']!r:.80}")
    return row


def pseudonym(text: str | None) -> str:
    """The name under which an annotator's answers are kept: in lower case, so that a later visit finds them again.

    Raises:
        ValueError: If it is empty or too long, or has characters that are not seen.

    >>> pseudonym("  Red   Fox ")
    'red fox'
    """
    name = " ".join(unicodedata.normalize("NFKC", str(text or "")).split()).casefold()
    if not any(letter.isalnum() for letter in name):
        raise ValueError("Please choose a pseudonym: any word that is not your name, such as red fox.")
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(f"Please choose a pseudonym of at most {LONGEST_NAME} visible characters.")
    return name


def lines_of(rows: list[Row]) -> bytes:
    """JSON lines of rows; in ASCII, so that no character of a text can look like the end of a line."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode("ascii")


def _check_scenario(scenario: Scenario) -> None:
    """Refuses a scenario with which the page could not be drawn."""
    texts, number = scenario.preferences, scenario.matched
    _require(type(scenario.user_id) is str and type(scenario.position) is int, "a scenario has no user and position")
    _require(all(isinstance(item, dict) for item in (*scenario.history, scenario.target)), "an item is no object")
    _require(all(isinstance(text, str) for text in texts) and len({*texts}) == len(texts), "preferences must differ")
    _require(type(number) is int and 0 <= number < len(texts), f"matched is {number!r:.80}")


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise ValueError(reason)
