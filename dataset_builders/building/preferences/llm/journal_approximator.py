"""Read a language model's preferences from journals for a benchmark build."""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..approximation import FivePreferences, PastItem, PreferenceApproximator, check_five
from .journal import merge_contents, other_data
from .journal_lines import Entry, failures_by_reason
from .prompts import PREFERENCES, request_digest
from .work import preference_work

logger = logging.getLogger(__name__)


class JournalApproximator(PreferenceApproximator):
    """Preferences of a language model from journals, checked against the data.

    Args:
        paths (`Sequence[Path]`): One or more journals, of shards for example; they are merged in memory.

    Attributes:
        model, prompt_version, prompt_digest, domain (`str`): From the journals' header.
        num_requests (`int`): Positions with a reply.
        num_failed (`int`): Of these, without five preferences.
        failed (`dict[str, int]`): The same by reason.
        attempts (`dict[int, int]`): Number of attempts -> positions.
        schema_modes (`dict[str, int]`): Schema mode of the last reply -> positions.

    Raises:
        FileNotFoundError: If a journal does not exist.
        ValueError: If they do not belong together, or hold item properties.
    """

    name = "llm"

    def __init__(self, paths: Sequence[Path]) -> None:
        content = merge_contents(paths)
        if content.header.task != PREFERENCES:
            raise ValueError(f"{paths[0]} holds item {content.header.task}; give a journal of preferences.")
        self._paths = [Path(path) for path in paths]
        self._header, self._entries = content.header, content.entries
        entries = content.entries.values()
        self.model, self.domain = self._header.model, self._header.domain
        self.prompt_version, self.prompt_digest = self._header.prompt_version, self._header.prompt_digest
        self.window = self._header.max_items
        self.num_requests = len(content.entries)
        self.failed = failures_by_reason(entries)
        self.num_failed = sum(self.failed.values())
        self.attempts = dict(sorted(Counter(entry.attempts for entry in entries).items()))
        self.schema_modes = dict(sorted(Counter(entry.schema for entry in entries).items()))
        self.description = self._describe()

    def _describe(self) -> str:
        """Model, prompt, sampling parameters and failures, for the card."""
        header = self._header
        share = self.num_failed / self.num_requests if self.num_requests else 0.0
        details = self.details()
        return (
            f"Written by the language model {self.model} from the reviews of each user's last {self.window} items, "
            f"with the prompt {self.prompt_version} (digest {self.prompt_digest}), temperature "
            f"{_shown(header.temperature)}, top_p {_shown(header.top_p)}, at most {_shown(header.max_tokens)} new "
            f"tokens, replies asked for as {', '.join(self.schema_modes) or 'nothing'}. "
            f"{details['num_broken_replies']:,} of {details['num_replies']:,} replies could not be read as five "
            f"preferences; after further attempts {self.num_failed:,} of {self.num_requests:,} positions "
            f"({share:.1%}) stayed without any."
        )

    def fingerprint(self) -> str:
        """Digest of the header and all answers, in the order of keys."""
        state = hashlib.blake2b(repr(sorted(asdict(self._header).items())).encode(), digest_size=16)
        for key in sorted(self._entries):
            entry = self._entries[key]
            state.update(repr((key, entry.request, entry.answer)).encode())
        return state.hexdigest()

    def details(self) -> dict[str, Any]:
        """Values for the card."""
        header = self._header
        broken = sum(entry.attempts - (entry.answer is not None) for entry in self._entries.values())
        return {
            "model": header.model,
            "prompt_version": header.prompt_version,
            "prompt_digest": header.prompt_digest,
            "temperature": header.temperature,
            "top_p": header.top_p,
            "max_tokens": header.max_tokens,
            "max_items": header.max_items,
            "max_review_characters": header.max_review_characters,
            "seed": header.seed,
            "schema_modes": self.schema_modes,
            "num_requests": self.num_requests,
            "num_replies": sum(entry.attempts for entry in self._entries.values()),
            "num_broken_replies": broken,
            "num_failed": self.num_failed,
            "failed": self.failed,
            "attempts": {str(attempts): count for attempts, count in self.attempts.items()},
        }

    def check_users(self, lengths: Mapping[str, int]) -> None:
        """See [`PreferenceApproximator.check_users`].

        Users who are not there are left out with a warning: a journal of all users serves a build of every seventh.

        Raises:
            ValueError: If a journal has a position after the last action of its user.
        """
        files = " or ".join(map(str, self._paths))
        others = [key for key in self._entries if key[1] > lengths.get(key[0], key[1])]
        if others:
            user_id, position = min(others)
            raise ValueError(
                f"{files} has position {position} of user {user_id!r}, where these data have {lengths[user_id]} "
                f"actions of that user ({len(others):,} such lines in all): it belongs to another file, another "
                "k-core or another version of the source. Use the journal's own data, or remove those lines."
            )
        if unknown := {user_id for user_id, _ in self._entries} - set(lengths):
            count, example = f"{len(unknown):,}", min(unknown)
            logger.warning("%s: these data lack %s of the users, for example %r", files, count, example)

    def approximate_user(self, user_id: str, events: Sequence[PastItem]) -> list[FivePreferences | None]:
        """Preferences of a user from the journals, by position.

        Args:
            user_id (`str`): The user's name in the data.
            events (`Sequence[PastItem]`): The user's whole sequence, oldest first.

        Returns:
            `list[tuple or None]`: Entry `t - 1` is P^(t), `None` where a reply is missing or stayed broken.

        Raises:
            ValueError: If a position was asked with other items or reviews than `events[:t]` holds: the journal is of
                other data, or something later leaked into it.
        """
        header, prompt = self._header, self._header.prompt
        sets: list[FivePreferences | None] = []
        works = preference_work([(user_id, events)], prompt, header.max_items, header.max_review_characters)
        for work in works:
            entry = self._entries.get(work.key)
            if entry is not None and entry.request != request_digest(work.messages):
                raise other_data(self._paths, work.key)
            sets.append(None if entry is None else _five(entry))
        return sets


def _shown(value: float | None) -> str:
    return "left to the server" if value is None else f"{value:g}"


def _five(entry: Entry) -> FivePreferences | None:
    if entry.answer is None:
        return None
    check_five(entry.answer)
    first, second, third, fourth, fifth = entry.answer
    return first, second, third, fourth, fifth
