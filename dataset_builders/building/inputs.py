"""What a stage of a build reads: declared ahead, part of the key of its result, and refused where undeclared."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from .sequences import Sequences
from .stage_cache import digest_of

if TYPE_CHECKING:
    from .stages import BenchmarkBuild

READS: Mapping[str, Callable[["BenchmarkBuild"], Any]] = {
    "source": lambda build: [build.source.name, build.source.inputs()],
    "classifier": lambda build: build.classifier.fingerprint(),
    "approximator": lambda build: build.approximator.fingerprint(),
    "sequences": lambda build: [build.interactions.digest, build.options.window],
    "polarity": lambda build: build.polarity.digest,
    "items": lambda build: build.interactions.digest,
    "item_texts": lambda build: digest_of(build.item_texts),
    "preferences": lambda build: build.preference_sets.digest,
    "item_embeddings": lambda build: build.embeddings_digest,
    "preference_embeddings": lambda build: build.embeddings_digest,
    "embed": lambda build: [build.embedding_model, build.embeddings_digest],
    "matched": lambda build: [build.interactions.digest, build.preference_sets.digest, build.embeddings_digest],
    "steering": lambda build: build.steering_plans.digest,
}
"""What a stage or an axis may read -> what of it goes into the key: the content that it was made from."""


class UndeclaredRead(Exception):
    """A stage reads what its key does not cover, so that a change of it would leave the stage's result as it was.

    Args:
        reader (`str`): Name of the stage or axis.
        name (`str`): What it reads.
        declared (`Collection[str]`): What it says that it reads.
    """

    def __init__(self, reader: str, name: str, declared: Collection[str]) -> None:
        known = name in READS or name == "options"
        way_out = "declare it" if known else f"a stage can read {', '.join(READS)}"
        super().__init__(f"{reader} reads {name} and declares {', '.join(sorted(declared)) or 'nothing'}; {way_out}.")


class UnclassifiedSequences(Sequences):
    """Sequences for a reader that does not declare the polarity of reviews."""

    @property
    def polarity(self) -> Any:
        """Refused.

        Raises:
            UndeclaredRead: Always.
        """
        raise UndeclaredRead("a stage", "polarity", ["sequences"])


class Inputs:
    """The declared inputs of one stage or axis; attributes are those of the build, see [`READS`].

    Args:
        build ([`~dataset_builders.building.stages.BenchmarkBuild`]): Computes what is read.
        reader (`str`): Name of the stage or axis, for errors.
        reads (`Collection[str]`): Names of [`READS`].
        options (`Collection[str]`): Names of the build options that are read.
    """

    def __init__(
        self, build: "BenchmarkBuild", reader: str, reads: Collection[str], options: Collection[str] = ()
    ) -> None:
        if unknown := [name for name in reads if name not in READS]:
            raise UndeclaredRead(reader, unknown[0], ())
        self._build, self._reader, self._reads, self._options = build, reader, frozenset(reads), frozenset(options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._reads or name == "polarity":
            raise UndeclaredRead(self._reader, name, self._reads)
        if name == "sequences" and "polarity" not in self._reads:
            return self._build.unclassified_sequences
        return getattr(self._build, name)

    def option(self, name: str) -> Any:
        """A build option.

        Raises:
            UndeclaredRead: If it is not declared.
        """
        if name not in self._options:
            raise UndeclaredRead(self._reader, f"the option {name}", self._options)
        return getattr(self._build.options, name)

    def key(self) -> dict[str, Any]:
        """What the result depends on, beside code: JSON values."""
        reads = {name: READS[name](self._build) for name in sorted(self._reads)}
        return {**reads, **{f"option {name}": getattr(self._build.options, name) for name in sorted(self._options)}}
