"""Preferences written by a language model (algorithm 1): what is asked, in which order, and what becomes of replies.

Asks an endpoint for everything that a journal lacks. Leaves the words to `prompts.py`, the wire to `endpoint.py`, the
reading of replies to `parsing.py`, the file to `journal.py`, and its use in a benchmark to `journal_approximator.py`.
"""

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from ....atomic_write import atomic_write
from ..approximation import PastItem
from .endpoint import Endpoint, EndpointError, EndpointSettings, RequestError
from .journal import Entry, Header, Journal, JournalContent, Key
from .parsing import ParseFailure, parse_preferences, parse_properties
from .prompts import (
    PREFERENCES,
    PROPERTIES,
    Messages,
    Prompt,
    answer_schema,
    preference_messages,
    property_messages,
    request_digest,
)

if TYPE_CHECKING:
    from ...sequences import Sequences

logger = logging.getLogger(__name__)

_AGAINST_THE_SCHEMA = frozenset(
    "code_fence not_json single_quotes trailing_text not_object missing_key unknown_key not_array nested_entry "
    "null_entry not_string too_few too_many".split()
)
"""Reasons that a server which holds replies to the schema rules out."""
_PARSERS: Mapping[str, Callable[[str], tuple[str, ...]]] = {
    PREFERENCES: parse_preferences,
    PROPERTIES: parse_properties,
}


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to ask for.

    Attributes:
        key (`tuple[str, int]`): (user_id, position), or (source_id, 0) of an item.
        messages (`list[dict]`): What is sent.
    """

    key: Key
    messages: Messages


@dataclass
class RunCounts:
    """What a run did, and what is still missing.

    Attributes:
        total (`int`): Things to ask for, finished ones included.
        known (`int`): Of these, in the journal before the run.
        answered (`int`): Answers that this run added.
        failed (`dict[str, int]`): Reason -> replies that stayed broken after the last attempt, in this run.
        unreachable (`int`): Requests without any reply; nothing is journaled, the next run asks again.
        broken_replies (`dict[str, int]`): Reason -> replies of this run that could not be read, all attempts counted.
        replies (`int`): Replies of this run, readable or not.
        seconds (`float`): Wall-clock time.
        schema_mode (`str`): What the server was asked to hold the last replies to.
    """

    total: int = 0
    known: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    unreachable: int = 0
    broken_replies: Counter[str] = field(default_factory=Counter)
    replies: int = 0
    seconds: float = 0.0
    schema_mode: str = ""

    def summary(self) -> str:
        """A few lines for a terminal."""
        rate = self.replies / self.seconds if self.seconds else 0.0
        missing = self.total - self.known - self.answered - self.failed.total()
        lines = [
            f"finished: {self.answered:,} of {self.total - self.known:,} asked for, {self.known:,} were known before",
            f"failed: {_by_reason(self.failed)}",
            f"missing: {missing:,} without any reply",
            f"replies: {self.replies:,} in {self.seconds:.0f} s, {rate:.2f} per second; "
            f"broken: {_by_reason(self.broken_replies)}; asked for as {self.schema_mode or 'nothing yet'}",
        ]
        return "\n".join(lines)


def shard_of(name: str, num_shards: int) -> int:
    """The shard of a user or an item: the same on every machine and in every run.

    >>> [shard_of(name, 3) for name in ("anna", "bert", "cleo", "dora")]
    [0, 1, 0, 1]
    """
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") % num_shards


def check_shard(num_shards: int, shard_index: int) -> None:
    """Raises `ValueError` unless `0 <= shard_index < num_shards`."""
    if not 0 <= shard_index < num_shards:
        raise ValueError(f"shard_index ({shard_index}) must be at least 0 and below num_shards ({num_shards}).")


def preference_work(
    users: Iterable[tuple[str, Sequence[PastItem]]], prompt: Prompt, max_items: int, max_review_characters: int
) -> Iterator[Work]:
    """One request per user and position: P^(t) from the last `max_items` actions up to t (section 3.1).

    Args:
        users (`Iterable[tuple]`): User ids with their whole sequences, oldest action first.
        prompt ([`Prompt`]): Of the task `"preferences"`.
        max_items, max_review_characters (`int`): See
            [`~dataset_builders.building.preferences.llm.prompts.preference_messages`].

    Yields:
        [`Work`]: Lazily, user by user.
    """
    for user_id, events in users:
        for position in range(1, len(events) + 1):
            shown = events[max(0, position - max_items) : position]
            yield Work((user_id, position), preference_messages(prompt, shown, max_items, max_review_characters))


def training_reviews(sequences: "Sequences", items: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Reviews of every item at training positions, in the order of users and positions.

    Neither the validation nor the test position of any user is read: a property taken from such a review would tell
    what its writer bought last.

    Args:
        sequences ([`Sequences`]): All actions.
        items (`Sequence[Mapping]`): Catalogue rows; entry `item_id - 1` is the item `item_id`.

    Returns:
        `dict[str, list[str]]`: `source_id` -> texts; items without a review are left out.
    """
    from ...sequences import TRAIN

    reviews: dict[str, list[str]] = {}
    for item_id, split, review in zip(sequences.item_id, sequences.split, sequences.reviews, strict=True):
        if split == TRAIN and review and review.strip():
            reviews.setdefault(items[item_id - 1]["source_id"], []).append(review)
    return reviews


def property_work(
    items: Iterable[Mapping[str, Any]],
    reviews: Mapping[str, Sequence[str]],
    prompt: Prompt,
    max_items: int,
    max_review_characters: int,
) -> Iterator[Work]:
    """One request per item that has reviews (appendix C.1).

    Args:
        items (`Iterable[Mapping]`): Rows of the config `items`.
        reviews (`Mapping`): What [`training_reviews`] returns.
        prompt ([`Prompt`]): Of the task `"properties"`.
        max_items, max_review_characters (`int`): See
            [`~dataset_builders.building.preferences.llm.prompts.property_messages`].

    Yields:
        [`Work`]: Lazily, in the order of the catalogue.
    """
    for item in items:
        texts = reviews.get(item["source_id"])
        if texts:
            messages = property_messages(prompt, item, texts, max_items, max_review_characters)
            yield Work((item["source_id"], 0), messages)


def run(*args: Any, **options: Any) -> RunCounts:
    """[`run_async`] outside an event loop; in a notebook, `await run_async(...)` instead."""
    return asyncio.run(run_async(*args, **options))


async def run_async(
    settings: EndpointSettings,
    work: Iterable[Work],
    journal: Journal,
    total: int | None = None,
    concurrency: int = 16,
    max_attempts: int = 3,
    retry_failures: bool = False,
    progress: bool = True,
    counts: RunCounts | None = None,
) -> RunCounts:
    """Asks for everything that the journal lacks and journals each reply as it comes.

    A reply that cannot be read is asked for again with the next seed, up to `max_attempts`; then the failure is
    journaled. When the endpoint has to be given up, requests in flight are waited for and journaled first.

    Args:
        settings ([`EndpointSettings`]): Where the model is.
        work (`Iterable[Work]`): Read lazily: never more than `concurrency` requests are held.
        journal ([`Journal`]): Open.
        total (`int`, *optional*): Length of `work`, for the bar's estimate.
        concurrency (`int`): Requests in flight.
        max_attempts (`int`): Replies per request.
        retry_failures (`bool`): Whether to ask again, with new seeds, for what the journal holds as failed.
        progress (`bool`): Whether to show a bar.
        counts ([`RunCounts`], *optional*): Kept up to date, for those who interrupt the run.

    Returns:
        [`RunCounts`]: What was done.

    Raises:
        EndpointError: If the endpoint is down, or refuses the key or the model.
        OSError: If the journal cannot be written.
        ValueError: If the journal was written from other data, or a limit is below 1.
    """
    for name, value in (("concurrency", concurrency), ("max_attempts", max_attempts)):
        if value < 1:
            raise ValueError(f"{name} ({value}) must be at least 1.")
    counts = RunCounts() if counts is None else counts
    counts.total = total or 0
    start = time.monotonic()
    async with Endpoint(settings, answer_schema(journal.header.task)) as endpoint:
        bar = tqdm(total=total, desc=f"Asking for {journal.header.task}", disable=not progress, smoothing=0.05)
        runner = _Runner(endpoint, iter(work), journal, max_attempts, retry_failures, counts, bar)
        with bar:
            try:
                await asyncio.gather(*(runner.worker() for _ in range(concurrency)))
            finally:
                counts.seconds = time.monotonic() - start
                counts.schema_mode = endpoint.schema_mode if counts.replies else ""
    if runner.error is not None:
        raise runner.error
    return counts


@dataclass
class _Runner:
    """The state that the workers of one run share."""

    endpoint: Endpoint
    work: Iterator[Work]
    journal: Journal
    max_attempts: int
    retry_failures: bool
    counts: RunCounts
    bar: Any
    error: Exception | None = None
    warned: bool = False
    seen: int = 0

    async def worker(self) -> None:
        """Takes work until there is none, or until any worker met an error that ends the run."""
        while self.error is None:
            try:
                task = self._next()
                if task is None:
                    return
                await self._finish(*task)
            except (EndpointError, OSError, ValueError) as error:
                # Not raised here: it would cancel the other workers, and what they wait for is paid for.
                self.error = self.error or error
                self.endpoint.stop()

    def _warn_if_ignored(self, mode: str, reason: str) -> None:
        if mode in ("json_schema", "json_value") and reason in _AGAINST_THE_SCHEMA and not self.warned:
            self.warned = True
            logger.warning(
                "The server was asked to hold replies to a JSON schema and gave one that breaks it (%s): it seems to "
                "ignore response_format, so more replies than necessary will be broken.",
                reason,
            )

    def _next(self) -> tuple[Work, str, int] | None:
        """The next request that is not finished, its digest, and the attempts that were made for it."""
        for work in self.work:
            digest = request_digest(work.messages)
            known = self.journal.entries.get(work.key)
            self.seen += 1
            self.counts.total = max(self.counts.total, self.seen)
            if known is None:
                return work, digest, 0
            if known.request != digest:
                raise other_data(self.journal.path, work.key)
            if known.answer is None and self.retry_failures:
                return work, digest, known.attempts
            self.counts.known += 1
            self.bar.total = None if self.bar.total is None else self.bar.total - 1
        return None

    async def _finish(self, work: Work, digest: str, attempts_before: int) -> None:
        parse = _PARSERS[self.journal.header.task]
        failure = ParseFailure("empty", "")
        reply = None
        attempt = seed = 0
        for attempt in range(attempts_before + 1, attempts_before + self.max_attempts + 1):
            seed = self.journal.header.seed + attempt - 1
            try:
                reply = await self.endpoint.complete(work.messages, seed)
            except RequestError:
                self.counts.unreachable += 1
                self.bar.update()
                return
            self.counts.replies += 1
            try:
                answer = parse(reply.text)
            except ParseFailure as error:
                failure = error
                self.counts.broken_replies[error.reason] += 1
                self._warn_if_ignored(reply.schema_mode, error.reason)
                if self.error is not None:
                    return
                continue
            entry = Entry(work.key, digest, answer, attempts=attempt, seed=seed, schema=reply.schema_mode)
            self.journal.append(entry)
            self.counts.answered += 1
            self.bar.update()
            return
        assert reply is not None
        self.journal.append(
            Entry(work.key, digest, None, failure.reason, failure.reply, attempt, seed, reply.schema_mode)
        )
        self.counts.failed[failure.reason] += 1
        self.bar.update()


def write_properties(content: Journal | JournalContent, items: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Writes item properties as a Parquet table: `item_id` int32, `source_id` string, `properties` list of string.

    Args:
        content ([`Journal`] or [`JournalContent`]): Of the task `"properties"`.
        items (`Iterable[Mapping]`): Rows of the config `items`; those without properties are left out.
        path (`Path`): The file, replaced if it exists.

    Returns:
        `int`: Number of rows.

    Raises:
        ValueError: If the journal holds preferences.
    """
    if content.header.task != PROPERTIES:
        raise ValueError(f"The journal holds {content.header.task}; give one of item properties.")
    found = [(item, content.entries.get((item["source_id"], 0))) for item in items]
    rows = [
        {"item_id": item["item_id"], "source_id": item["source_id"], "properties": list(entry.answer)}
        for item, entry in found
        if entry is not None and entry.answer is not None
    ]
    schema = pa.schema({"item_id": pa.int32(), "source_id": pa.string(), "properties": pa.list_(pa.string())})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary)
    return len(rows)


def journal_header(
    domain: str,
    settings: EndpointSettings,
    prompt: Prompt,
    seed: int,
    max_items: int,
    max_review_characters: int,
) -> Header:
    """The header of a run: what its replies will have in common.

    Args:
        domain (`str`): As in the benchmark's configs.
        settings ([`EndpointSettings`]): Of a model whose name may be a path: only its last part is kept.
        prompt ([`Prompt`]): What is asked.
        seed, max_items, max_review_characters (`int`): See
            [`~dataset_builders.building.preferences.llm.journal.Header`].

    Returns:
        [`Header`]: Without the endpoint's address and key.
    """
    is_path = settings.model.startswith(("/", ".", "~"))
    return Header(
        domain=domain,
        model=Path(settings.model).name if is_path else settings.model,
        task=prompt.task,
        prompt_version=prompt.version,
        prompt_digest=prompt.digest,
        instructions=prompt.instructions,
        reminder=prompt.reminder,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        seed=seed,
        max_items=max_items,
        max_review_characters=max_review_characters,
    )


def other_data(path: Path, key: Key) -> ValueError:
    """The error of a journal that was asked about other data than those at hand."""
    name, position = key
    place = f"user {name}, position {position}" if position else f"item {name}"
    return ValueError(
        f"{path} was asked about other items or reviews than these data hold for {place}: it belongs to another file, "
        "another k-core or another version of the source. Use the journal's own data, or start a new journal."
    )


def _by_reason(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    if not total:
        return "none"
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return f"{total:,} (" + ", ".join(f"{reason} {count:,}" for reason, count in ordered) + ")"
