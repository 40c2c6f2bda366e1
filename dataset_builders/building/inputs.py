"""Declared inputs of a build's stages: part of the key of a result; undeclared reads are refused."""

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
"""Input of a stage or an axis -> its part of the key: the content that it was made from."""


class UndeclaredRead(Exception):
    """A read that a stage does not declare: a change of it would leave the stage's cached result stale.

    Args:
        reader (`str`): Name of the stage or axis.
        name (`str`): Name of the input.
        declared (`Collection[str]`): Names of the declared inputs.
    """

    def __init__(self, reader: str, name: str, declared: Collection[str]) -> None:
        known = name in READS or name == "options"
        way_out = "declare it" if known else f"a stage can read {', '.join(READS)}"
        super().__init__(f"{reader} reads {name} and declares {', '.join(sorted(declared)) or 'nothing'}; {way_out}.")


class UnclassifiedSequences(Sequences):
    """Sequences for a reader that does not declare the polarity of reviews."""

    @property
    def polarity(self) -> Any:
        """Not readable.

        Raises:
            UndeclaredRead: Always.
        """
        raise UndeclaredRead("a stage", "polarity", ["sequences"])


class Inputs:
    """Declared inputs of one stage or axis; its attributes are those of the build, see [`READS`].

    Args:
        build ([`~dataset_builders.building.stages.BenchmarkBuild`]): Build that computes the inputs.
        reader (`str`): Name of the stage or axis, for errors.
        reads (`Collection[str]`): Names of the inputs, of [`READS`].
        options (`Collection[str]`): Names of the build options that it reads.
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
        """Returns a build option.

        Raises:
            UndeclaredRead: If it is not declared.
        """
        if name not in self._options:
            raise UndeclaredRead(self._reader, f"the option {name}", self._options)
        return getattr(self._build.options, name)

    def key(self) -> dict[str, Any]:
        """Everything the result depends on beside code, as JSON values."""
        reads = {name: READS[name](self._build) for name in sorted(self._reads)}
        return {**reads, **{f"option {name}": getattr(self._build.options, name) for name in sorted(self._options)}}
