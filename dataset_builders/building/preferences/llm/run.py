"""Fill a journal with preferences written by a language model (algorithm 1); stop early if most requests fail."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from tqdm.auto import tqdm

from .endpoint import Endpoint, EndpointError, RequestError
from .endpoint_settings import EndpointSettings
from .journal import Journal, other_data
from .journal_lines import Entry, Header, JournalContent, Key, failures_by_reason
from .parsing import ParseFailure, parse_preferences, parse_properties
from .prompts import PREFERENCES, PROPERTIES, Prompt, answer_schema, request_digest
from .replies import Reply, Usage
from .work import Work

logger = logging.getLogger(__name__)

ENOUGH_REQUESTS = 30
"""So many must have ended before their failures can end the run."""
FAILURES_IN_A_ROW = 100
"""So many failures without an answer between end the run, however well it went before."""
_AGAINST_THE_SCHEMA = frozenset(
    "code_fence not_json single_quotes trailing_text not_object missing_key unknown_key not_array nested_entry "
    "null_entry not_string too_few too_many unknown_choice".split()
)
"""Reasons that a server which holds replies to the schema rules out."""
_PARSERS: Mapping[str, Callable[[str], tuple[str, ...]]] = {
    PREFERENCES: parse_preferences,
    PROPERTIES: parse_properties,
}
_WAYS_OUT = {
    "reasoning_cut": "the model spent all of its new tokens on reasoning: raise --max_tokens (and start a new "
    "--journal), or have the server not reason",
    "reasoning_only": "the model reasoned and wrote no reply: have the server not reason, or turn off its reasoning "
    "parser, which may take the reply for reasoning",
    "truncated": "replies end before their JSON does: raise --max_tokens (and start a new --journal)",
    "tool_call": "the model calls a tool: have the server offer none, or turn off its parser of tool calls",
    "refusal": "the model or its server refuses: name another --model or --prompt_file",
}
"""Reason of a failure -> what it means and what helps."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What all requests of a run ask for.

    Attributes:
        what (`str`): In a word or two, for the progress bar.
        schema (`Mapping`): JSON schema of a reply.
        parse (`Callable`): Reads a reply, or raises a [`ParseFailure`].
        seed (`int`, *optional*): Random seed of the first attempt; each further attempt adds 1.
    """

    what: str
    schema: Mapping[str, Any]
    parse: Callable[[str], tuple[str, ...]]
    seed: int | None

    @classmethod
    def by(cls, header: Header) -> "Asked":
        """What the header of a journal asks for."""
        return cls(header.task, answer_schema(header.task), _PARSERS[header.task], header.seed)


class Record(Protocol):
    """Where a run finds what is finished and leaves what it gets: a [`Journal`], or answers in another form."""

    @property
    def path(self) -> Path: ...

    @property
    def entries(self) -> Mapping[Key, Entry]: ...

    def append(self, entry: Entry) -> None: ...


@dataclass
class RunCounts:
    """What a run did, and what is still missing.

    Attributes:
        total (`int`): Things to ask for, finished ones included.
        known (`int`): Of these, in the journal before the run.
        answered (`int`): Answers that this run added.
        failed (`dict[str, int]`): Reason -> replies that stayed broken after the last attempt, in this run.
        dropped (`int`): Of these, not journaled: most requests failed, as a mended server's would not.
        without_reply (`dict[str, int]`): Reason -> requests without any reply; nothing is journaled, the next run asks
            again.
        broken_replies (`dict[str, int]`): Reason -> replies of this run that could not be read, all attempts counted.
        replies (`int`): Replies of this run, readable or not.
        seconds (`float`): Wall-clock time.
        usage ([`Usage`], *optional*): Tokens of these replies, where the server counts them.
        schema_mode (`str`): What the server was asked to hold the last replies to.
        last_failure (`str`): Why the last request failed, in the words of the server or the model.
    """

    total: int = 0
    known: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    without_reply: Counter[str] = field(default_factory=Counter)
    broken_replies: Counter[str] = field(default_factory=Counter)
    replies: int = 0
    seconds: float = 0.0
    usage: Usage | None = None
    schema_mode: str = ""
    last_failure: str = ""

    @property
    def unreachable(self) -> int:
        """Requests without any reply."""
        return self.without_reply.total()

    def failing(self, max_failed_share: float) -> bool:
        """Whether more than a share of the requests failed for one reason, or none got an answer."""
        reasons = self.failed + self.without_reply
        if not reasons or max_failed_share == 1:
            return False
        asked = self.answered + reasons.total()
        return not self.answered or max(reasons.values()) > max_failed_share * asked

    def main_failure(self) -> tuple[str, int]:
        """The most frequent reason why a request or a reply of this run failed, and how often it did."""
        return max((*self.broken_replies.items(), *self.without_reply.items()), key=lambda pair: pair[1])

    def summary(self) -> str:
        """A few lines for a terminal."""
        rate = self.replies / self.seconds if self.seconds else 0.0
        missing = self.total - self.known - self.answered - self.failed.total() + self.dropped
        lines = [
            f"finished: {self.answered:,} of {self.total - self.known:,} asked for, {self.known:,} were known before",
            f"failed: {_by_reason(self.failed)}" + (f", {self.dropped:,} not journaled" if self.dropped else ""),
            f"missing: {missing:,} for the next run{self._why_missing()}",
            f"replies: {self.replies:,} in {self.seconds:.0f} s, {rate:.2f} per second; "
            f"broken: {_by_reason(self.broken_replies)}; asked for as {self.schema_mode or 'nothing yet'}",
        ]
        if self.usage is not None:
            lines.append(f"tokens: {tokens_in_words(self.usage)}")
        return "\n".join(lines)

    def _why_missing(self) -> str:
        return f"; without any reply: {_by_reason(self.without_reply)}" if self.without_reply else ""


def run(*args: Any, **options: Any) -> RunCounts:
    """[`run_async`] outside an event loop; in a notebook, `await run_async(...)` instead."""
    return asyncio.run(run_async(*args, **options))


async def run_async(
    settings: EndpointSettings,
    work: Iterable[Work],
    journal: Record,
    total: int | None = None,
    concurrency: int = 16,
    max_attempts: int = 3,
    retry_failures: bool = False,
    max_failed_share: float = 0.5,
    progress: bool = True,
    counts: RunCounts | None = None,
    asked: Asked | None = None,
) -> RunCounts:
    """Asks for everything that the journal lacks and journals each reply as it comes.

    A reply that cannot be read is asked for again with the next seed, up to `max_attempts`. Such a failure is
    journaled with the next answer, which shows that the model can write one, or when the run ends well: what a broken
    server says is no failure of the model, and the next run asks again. When the endpoint has to be given up, requests
    in flight are waited for and their answers journaled first.

    Args:
        settings ([`EndpointSettings`]): Where the model is.
        work (`Iterable[Work]`): Read lazily, user by user: never more than `concurrency` users are held. Consecutive
            requests of one user are sent one after another, so that each finds the beginning of its prompt in the
            server's prefix cache.
        journal ([`Record`]): An open [`Journal`], or another place for answers.
        total (`int`, *optional*): Length of `work`, for the bar's estimate.
        concurrency (`int`): Requests in flight, each of another user.
        max_attempts (`int`): Replies per request.
        retry_failures (`bool`): Whether to ask again, with new seeds, for what the journal holds as failed.
        max_failed_share (`float`): The run ends when more than this share of at least [`ENOUGH_REQUESTS`] requests
            and replies failed for one reason, or the last [`FAILURES_IN_A_ROW`] failed for any; 1 never ends it, and
            journals every failure at once.
        progress (`bool`): Whether to show a bar.
        counts ([`RunCounts`], *optional*): Kept up to date, for those who interrupt the run.
        asked ([`Asked`], *optional*): What is asked for; by default what the header of the journal says.

    Returns:
        [`RunCounts`]: What was done.

    Raises:
        EndpointError: If the endpoint is down, refuses the key or the model, or fails most requests for one reason.
        OSError: If the journal cannot be written.
        ValueError: If the journal was written from other data, or a limit is below 1.
    """
    for name, value in (("concurrency", concurrency), ("max_attempts", max_attempts)):
        if value < 1:
            raise ValueError(f"{name} ({value}) must be at least 1.")
    if not 0 < max_failed_share <= 1:
        raise ValueError(f"max_failed_share ({max_failed_share}) must be above 0 and at most 1.")
    counts = RunCounts() if counts is None else counts
    counts.total = total or 0
    start = time.monotonic()
    if asked is None:
        assert isinstance(journal, Journal), "another place for answers has no header that says what is asked for"
        asked = Asked.by(journal.header)
    async with Endpoint(settings, asked.schema) as endpoint:
        bar = tqdm(total=total, desc=f"Asking for {asked.what}", disable=not progress, smoothing=0.05)
        runner = _Runner(
            endpoint, _by_user(work), journal, asked, max_attempts, retry_failures, max_failed_share, counts, bar
        )
        with bar:
            try:
                await asyncio.gather(*(runner.worker() for _ in range(concurrency)))
                if runner.error is None and not counts.failing(max_failed_share):
                    runner.journal_held()
            finally:
                counts.dropped = len(runner.held)
                counts.seconds = time.monotonic() - start
                counts.schema_mode = endpoint.schema_mode if counts.replies else ""
    if runner.error is not None:
        raise runner.error
    return counts


@dataclass
class _Runner:
    """The state that the workers of one run share."""

    endpoint: Endpoint
    users: Iterator[list[Work]]
    journal: Record
    asked: Asked
    max_attempts: int
    retry_failures: bool
    max_failed_share: float
    counts: RunCounts
    bar: Any
    error: Exception | None = None
    warned: bool = False
    seen: int = 0
    row: Counter[str] = field(default_factory=Counter)  # failures since the last answer, by reason
    held: list[Entry] = field(default_factory=list)  # failures since the last answer, not journaled yet

    async def worker(self) -> None:
        """Takes one user after another, until there is none or any worker met an error that ends the run."""
        while self.error is None:
            try:
                works = next(self.users, None)
                if works is None:
                    return
                for work in works:
                    task = self._unfinished(work)
                    if task is not None and self.error is None:
                        await self._finish(*task)
            except (EndpointError, OSError, ValueError) as error:
                # Not raised here: it would cancel the other workers, and what they wait for is paid for.
                self.error = self.error or error
                self.endpoint.stop()

    def _warn_if_ignored(self, reply: Reply, reason: str) -> None:
        if reply.schema_mode in ("json_schema", "json_value") and reason in _AGAINST_THE_SCHEMA and not self.warned:
            self.warned = True
            logger.warning(
                "The server was asked to hold replies to a JSON schema and gave one that breaks it (%s): it seems to "
                "ignore response_format, so more replies than necessary will be broken.",
                reason,
            )

    def journal_held(self) -> None:
        """Journals the failures that were held back."""
        while self.held:
            self.journal.append(self.held[0])
            del self.held[0]

    def _unfinished(self, work: Work) -> tuple[Work, str, Entry | None] | None:
        """A request that is not finished, its digest, and its failure in the journal, if there is one."""
        digest = request_digest(work.messages)
        known = self.journal.entries.get(work.key)
        self.seen += 1
        self.counts.total = max(self.counts.total, self.seen)
        if known is None:
            return work, digest, None
        if known.request != digest:
            raise other_data([self.journal.path], work.key)
        if known.answer is None and self.retry_failures:
            return work, digest, known
        self.counts.known += 1
        self.bar.total = None if self.bar.total is None else self.bar.total - 1
        return None

    async def _finish(self, work: Work, digest: str, before: Entry | None) -> None:
        """Asks until a reply can be read or the attempts are used up, and journals what came of it."""
        entry = None
        attempts_before, usage = (before.attempts, before.usage) if before else (0, None)
        start = time.monotonic()
        for attempt in range(attempts_before + 1, attempts_before + self.max_attempts + 1):
            first_seed = self.asked.seed
            seed = None if first_seed is None else first_seed + attempt - 1
            try:
                reply = await self.endpoint.complete(work.messages, seed)
            except RequestError as error:
                self.bar.update()
                self._count_failure(self.counts.without_reply, error.kind, str(error))
                return
            self.counts.replies += 1
            usage, self.counts.usage = _plus(usage, reply.usage), _plus(self.counts.usage, reply.usage)
            try:
                answer = self.asked.parse(reply.words())
            except ParseFailure as error:
                failure = ParseFailure(error.reason, self.endpoint.settings.masked(error.reply))
                entry = Entry(work.key, digest, None, error.reason, failure.reply, attempt, seed, reply.schema_mode)
                self._warn_if_ignored(reply, error.reason)
                self._count_failure(self.counts.broken_replies, error.reason, str(failure))
                if self.error is not None:
                    return
            else:
                entry = Entry(work.key, digest, answer, attempts=attempt, seed=seed, schema=reply.schema_mode)
                break
        assert entry is not None
        entry = replace(entry, usage=usage, seconds=round(time.monotonic() - start, 3))
        if entry.answer is None:
            self.held.append(entry)
            self.counts.failed[entry.failure] += 1
        else:
            self.journal.append(entry)
            self.counts.answered += 1
            self.row.clear()
        if entry.answer is not None or self.max_failed_share == 1:
            self.journal_held()
        self.bar.update()

    def _count_failure(self, counter: Counter[str], reason: str, said: str) -> None:
        """Counts a request or a reply that failed, and ends the run where most do for one reason."""
        counter[reason] += 1
        self.counts.last_failure = said
        self.row[reason] += 1
        if self.error is not None or self.max_failed_share == 1:
            return
        ended = self.counts.replies + self.counts.unreachable
        count = counter[reason]
        if ended < ENOUGH_REQUESTS or count <= self.max_failed_share * ended:
            ended = self.row.total()
            if ended < FAILURES_IN_A_ROW:
                return
            reason, count = self.row.most_common(1)[0]
        raise EndpointError(
            f"{count} of {ended} requests failed for one reason, {reason}; the last one: {said}. "
            f"{_way_out(reason)}. (--max_failed_share 1 goes on all the same.)"
        )


def check_answered(
    counts: RunCounts, path: Path, content: Record | JournalContent, max_failed_share: float = 0.5
) -> None:
    """Raises if most requests of a run failed for one reason, or all that it would ask for had failed before.

    Raises:
        EndpointError: With the reason that most had, the last one's words, and the way out.
    """
    if counts.replies or counts.unreachable:
        if not counts.answered or counts.failing(max_failed_share):
            reason, count = counts.main_failure()
            got = f"only {counts.answered:,} requests" if counts.answered else "no request"
            raise EndpointError(
                f"{got} got an answer, {count} failed for {reason}; the last one: {counts.last_failure}. "
                f"{_way_out(reason)}, and give the same command again"
                + (" (--max_failed_share 1 takes the failures for the model's)." if counts.dropped else ".")
            )
    elif counts.known and all(entry.answer is None for entry in content.entries.values()):
        failed = _by_reason(failures_by_reason(content.entries.values()))
        raise EndpointError(
            f"{path} holds no answer, only failures: {failed}. Add --retry_failures to ask again for what the journal "
            "holds as failed."
        )


def _way_out(reason: str) -> str:
    help_ = _WAYS_OUT.get(reason, "mend the server, or name another --model or --prompt_file")
    return f"{help_[0].upper()}{help_[1:]}"


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
            [`~dataset_builders.building.preferences.llm.journal_lines.Header`].

    Returns:
        [`Header`]: Without the endpoint's address and key, and without what is left out of the requests.
    """

    def sent(name: str, value: Any) -> Any:
        return None if name in settings.omit else value

    return Header(
        domain=domain,
        model=settings.model_name,
        task=prompt.task,
        prompt_version=prompt.version,
        prompt_digest=prompt.digest,
        instructions=prompt.instructions,
        reminder=prompt.reminder,
        temperature=sent("temperature", settings.temperature),
        top_p=sent("top_p", settings.top_p),
        max_tokens=sent("max_tokens", settings.max_tokens),
        seed=sent("seed", seed),
        max_items=max_items,
        max_review_characters=max_review_characters,
    )


def tokens_in_words(usage: Usage) -> str:
    """Tokens in and out, and how many of them were cached.

    >>> tokens_in_words(Usage(2000, 300, cached=1500)), tokens_in_words(Usage(1, 2))
    ('2,000 in, 1,500 of them cached (75.0%), 300 out', '1 in, 2 out; the server does not say how many were cached')
    """
    if usage.cached is None:
        return f"{usage.prompt:,} in, {usage.completion:,} out; the server does not say how many were cached"
    share = usage.cached / max(1, usage.prompt)
    return f"{usage.prompt:,} in, {usage.cached:,} of them cached ({share:.1%}), {usage.completion:,} out"


def _plus(first: Usage | None, second: Usage | None) -> Usage | None:
    return first + second if first and second else first or second


def _by_user(work: Iterable[Work]) -> Iterator[list[Work]]:
    """Consecutive requests of one user (or item) together."""
    return (list(works) for _, works in groupby(work, key=lambda work: work.key[0]))


def _by_reason(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    if not total:
        return "none"
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return f"{total:,} (" + ", ".join(f"{reason} {count:,}" for reason, count in ordered) + ")"
