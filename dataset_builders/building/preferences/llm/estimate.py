"""Estimate of a run before anything is sent: requests, tokens, what a prefix cache can serve, and the price.

A user's prompt begins as the one before it: instructions, then actions, oldest first. After position `max_items` the
window moves, its oldest action leaves, and two prompts share the instructions alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .journal import other_data
from .journal_lines import Entry, Key
from .prompts import request_digest
from .work import Work

CHARACTERS_PER_TOKEN = 4.0
"""Of English text, where neither a tokenizer nor the journal says better."""
COMPLETION_TOKENS = 110.0
"""Of five short sentences as JSON, where the journal does not say better."""

Encode = Callable[[str], Sequence[Any]]
"""Text -> its tokens."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of a million tokens, in any currency.

    Attributes:
        prompt (`float`): Of a prompt, where the cache does not serve it.
        cached (`float`): Of a prompt, where it does.
        completion (`float`): Of a reply.
    """

    prompt: float
    cached: float
    completion: float


@dataclass
class Estimate:
    """Counts of the requests and tokens that a run will send, at one reply per request.

    Attributes:
        total, known (`int`): Requests, and those of them that the journal holds.
        users (`int`): Users (or items) of the others.
        moved (`int`): Of the others, those whose window has moved since their user's previous one.
        length, shared (`int`): Units of their prompts, and of the longest beginning that each shares with the prompt
            sent before it; units are tokens of a tokenizer, or characters.
        measured (`int`): Requests in the journal with a count of tokens.
        measured_length (`int`): Units of their prompts.
        measured_prompt, measured_completion (`float`): Tokens that the server counted in their prompts and replies.
        has_tokenizer (`bool`): Whether a unit is a token.
    """

    has_tokenizer: bool = False
    total: int = 0
    known: int = 0
    users: int = 0
    moved: int = 0
    length: int = 0
    shared: int = 0
    measured: int = 0
    measured_length: int = 0
    measured_prompt: float = 0.0
    measured_completion: float = 0.0

    @property
    def requests(self) -> int:
        """Requests that will be sent."""
        return self.total - self.known

    @property
    def characters_per_token(self) -> float:
        """As the journal's server counted them, or a rule of thumb."""
        return self.measured_length / self.measured_prompt if self.measured_prompt else CHARACTERS_PER_TOKEN

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts that will be sent."""
        return self._tokens(self.length)

    @property
    def cached_tokens(self) -> int:
        """Of these, what a prefix cache can serve."""
        return self._tokens(self.shared)

    @property
    def completion_tokens(self) -> int:
        """Tokens of the replies; of a request that the journal holds, all its replies count."""
        each = self.measured_completion / self.measured if self.measured else COMPLETION_TOKENS
        return round(self.requests * each)

    def _tokens(self, length: int) -> int:
        return length if self.has_tokenizer else round(length / self.characters_per_token)

    def price(self, prices: Prices) -> tuple[float, float]:
        """Price of the run with a prefix cache that serves all it can, and without one.

        >>> Estimate(True, total=2, length=3_000_000, shared=1_000_000).price(Prices(1.0, 0.1, 2.0))
        (2.10044, 3.00044)
        """
        saved = self.cached_tokens * (prices.prompt - prices.cached)
        without = self.prompt_tokens * prices.prompt + self.completion_tokens * prices.completion
        return (without - saved) / 1e6, without / 1e6

    def summary(self, max_tokens: int | None, prices: Prices | None = None) -> str:
        """A few lines for a terminal."""
        source = f"as in the {self.measured:,} requests of the journal" if self.measured else "a rule of thumb"
        counted = f"at {self.characters_per_token:.2f} characters, {source}"
        share = self.cached_tokens / max(1, self.prompt_tokens)
        most = "" if max_tokens is None else f", at most {max_tokens:,} a reply"
        lines = [
            f"nothing was sent: {self.requests:,} of {self.total:,} requests are missing, of {self.users:,} users or "
            "items",
            f"prompts: {self.prompt_tokens:,} tokens ({'of the tokenizer' if self.has_tokenizer else counted})",
            f"a prefix cache can serve {self.cached_tokens:,} of them ({share:.1%}); before {self.moved:,} prompts "
            "the window moves (--max_items), and they share only the instructions",
            f"replies: {self.completion_tokens:,} tokens ({source}{most})",
        ]
        if prices is not None:
            cached, without = self.price(prices)
            lines.append(f"price: {cached:,.2f} with such a cache, {without:,.2f} without; broken replies add to it")
        return "\n".join(lines)


def estimate(
    work: Iterable[Work],
    known: Mapping[Key, Entry],
    journal: Path,
    max_items: int,
    retry_failures: bool = False,
    encode: Encode | None = None,
) -> Estimate:
    """Counts what a run would send.

    Args:
        work (`Iterable[Work]`): As a run takes it.
        known (`Mapping`): Entries of the journal.
        journal (`Path`): Its file, for errors.
        max_items (`int`): Items in a prompt, at most.
        retry_failures (`bool`): Whether the journal's failures are asked for again.
        encode (`Callable`, *optional*): Text -> its tokens; without it, characters are counted.

    Returns:
        [`Estimate`]: Of the requests that the journal lacks.

    Raises:
        ValueError: If the journal was written from other data.
    """
    found = Estimate(encode is not None)
    before: Sequence[Any] = ""
    user = None
    for item in work:
        (name, position), entry = item.key, known.get(item.key)
        text = "\n".join(message["content"] for message in item.messages)
        units = text if encode is None else encode(text)
        found.total += 1
        if entry is not None and entry.request != request_digest(item.messages):
            raise other_data([journal], item.key)
        if entry is not None and entry.usage is not None:
            found.measured += 1
            found.measured_length += len(units)
            found.measured_prompt += entry.usage.prompt / entry.attempts
            found.measured_completion += entry.usage.completion
        if entry is not None and (entry.answer is not None or not retry_failures):
            found.known += 1
            continue
        found.users += name != user
        found.moved += name == user and position > max_items
        found.length += len(units)
        found.shared += common_prefix(before, units)
        before, user = units, name
    return found


def common_prefix(first: Sequence[Any], second: Sequence[Any]) -> int:
    """Length of the longest common beginning.

    >>> common_prefix("oldest first", "oldest last"), common_prefix([1, 2], [1, 2, 3]), common_prefix("", "a")
    (7, 2, 0)
    """
    low, high = 0, min(len(first), len(second))
    while low < high:  # by halves: a slice is compared far faster than its elements one by one
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def tokenizer_of(name: str) -> Encode:
    """The tokenizer of a model.

    Args:
        name (`str`): Folder or repository on the Hub.

    Returns:
        `Callable`: Text -> token ids, without those that a chat template adds.

    Raises:
        ValueError: If there is none.
    """
    from huggingface_hub import hf_hub_download
    from tokenizers import Tokenizer

    file = "tokenizer.json"  # read alone, so that no code of a repository runs
    refusal = ValueError(
        f"--tokenizer {name} has no {file} that can be read; name a folder or a repository on the Hub that has one, "
        "or leave it out to count characters."
    )
    try:
        path = Path(name, file) if Path(name).is_dir() else Path(hf_hub_download(name, file))
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise refusal from error
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # of a damaged file; the library raises Exception itself
        raise refusal from error
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids
