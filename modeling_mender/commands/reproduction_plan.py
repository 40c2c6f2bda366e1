"""Plan of a reproduction: its arguments, and the commands that they ask for, as steps."""

import dataclasses
import io
import shlex
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from dataset_builders.benchmark.baselines import BASELINES
from dataset_builders.benchmark.schema import check_domain
from dataset_builders.building.options import RANGES
from dataset_builders.building.text_embedding import MINILM
from dataset_builders.commands.build import BuildArguments
from dataset_builders.commands.command_line import defaults_of
from dataset_builders.commands.source_arguments import domain_of, source_from
from dataset_builders.resources import resource
from dataset_builders.typed_arguments import check_count, check_ranges

from ..training.arguments import (
    CachedEncoderArguments,
    DecoderArguments,
    LearnedArguments,
    TextEncoderArguments,
    TrainingArguments,
)
from ..training.recipes import load_recipe
from .learn_ids import parse_arguments as parse_ids
from .reproduction_steps import Step

# An RQ-VAE that a CPU can afford (RESULTS.md, "Semantic IDs"): some minutes for the items of Beauty.
CPU_IDS = {"hidden_sizes": [256, 128], "epochs": 50, "warmup_epochs": 8, "batch_size": 256, "reset_unused": True}
SMALL_DOMAINS = ("sample", "music", "gift_cards")
# Recipes that a CPU can afford on Beauty, and the two generative ones of them in the sizes of a small domain.
CPU_METHODS = (
    *("mender_steer", "sasrec", "transition_graph", "transition_graph_text", "most_popular"),
    *("tiger_all_prefixes", "mender_emb_all_prefixes"),
)
SMALL_METHODS = (*CPU_METHODS[:-2], "tiger", "mender_emb")
# Options of a build that are not the reproduction's own.
_NOT_OF_BUILD = ("from_hub", "from_hub_format", "revision", "output_dir", "cache_dir", "until", "overwrite")


@dataclass(kw_only=True)
class ReproductionArguments(BuildArguments):
    """Arguments of [`reproduce`]: those of the build, with models that need no Hub and no GPU, and the following.

    `--help` describes each.
    """

    polarity: str = "rating_vader"
    embedding_model: str | None = "minilm"
    embedding_dtype: str = "float32"
    output_dir: Path | None = None
    learn_ids: str | None = None
    methods: Sequence[str] = ()
    seeds: Sequence[int] = (0, 1, 2)
    max_rows: int = 0
    threads: int | None = None
    dry_run: bool = False
    compare: Path | None = None

    def __post_init__(self) -> None:
        self.methods = self.methods or (SMALL_METHODS if self.domain in SMALL_DOMAINS else CPU_METHODS)
        for seed in self.seeds:
            check_count("seeds", seed, 0)
        check_count("max_rows", self.max_rows, 0)
        if self.threads is not None:
            check_count("threads", self.threads, 1)
        if self.domain == "sample" and self.raw_dir is None:
            self.source = self.source or "sample"
        for name, given in (("seeds", self.seeds), ("methods", self.methods)):
            if twice := [one for one in given if list(given).count(one) > 1]:
                raise ValueError(f"{name} holds {twice[0]} twice; name it once.")

    @property
    def folder(self) -> Path:
        """Folder of the reproduction."""
        return self.output_dir or Path("outputs") / self.domain


class Recipe(NamedTuple):
    """A recipe of the reproduction.

    Attributes:
        word (`str`): Its name, or the path of its file, on a command line.
        arguments ([`TrainingArguments`]): Its arguments on the domain.
        changes (`dict`): Those that the reproduction changes: paths.
    """

    word: str
    arguments: TrainingArguments
    changes: dict[str, Any]

    @property
    def needs_ids(self) -> bool:
        """Whether the method generates semantic IDs."""
        return isinstance(self.arguments, DecoderArguments)

    @property
    def is_learned(self) -> bool:
        """Whether the method is trained, and so depends on the seed."""
        return isinstance(self.arguments, LearnedArguments)


class Plan(NamedTuple):
    """Steps of a reproduction, and the folders of the results of each method, in the order of the page."""

    steps: list[Step]
    results: dict[str, list[str]]


def make_plan(arguments: ReproductionArguments) -> Plan:
    """Makes the steps, with paths relative to the folder of the reproduction, so that they are the same in any folder.

    Raises:
        ValueError, FileNotFoundError: If a recipe, an option or a raw file cannot be read, or two recipes would be one
            line of the tables.
    """
    built = build_step(arguments)
    domain = ["--domain", arguments.domain]
    rows = ["--max_rows", str(arguments.max_rows)] if arguments.max_rows else []
    recipes = read_recipes(arguments)
    ids = ids_step(arguments)
    scored = "results/baselines"
    model = {"embedding_model": absolute(arguments.embedding_model)}
    words = ["baselines", "benchmark", *domain, "--output_dir", scored, *words_of(model), *rows]
    baselines = Step("baselines", words, scored, [built.name])
    needs_ids = any(recipe.needs_ids for recipe in recipes.values())
    steps = [built, *([ids] if needs_ids else []), baselines]
    results: dict[str, list[str]] = {}
    for seed in arguments.seeds:
        for name, recipe in recipes.items():
            if seed != arguments.seeds[0] and not recipe.is_learned:
                continue
            trained = train_step(name, recipe, seed)
            folder = f"results/{name}/seed_{seed}"
            cache = {name: value for name, value in recipe.changes.items() if name == "cache_dir"}
            words = ["evaluate", f"{trained.output}/model", "--benchmark", "benchmark", *domain]
            words += ["--output_dir", folder, *words_of(cache), *rows]
            steps += [trained, Step(f"evaluate_{name}_seed_{seed}", words, folder, [built.name, trained.name])]
            results.setdefault(name, []).append(folder)
    folders = [*(folder for found in results.values() for folder in found), scored]
    results |= {name: [f"{scored}/{name}"] for name in BASELINES}
    made = [baselines.name, *(step.name for step in steps if step.words[0] == "evaluate")]
    words = ["leaderboard", *folders, "--benchmark", "benchmark", "--output_dir", "leaderboard"]
    steps += [
        Step("tables", ["tables", *folders, "--output_dir", "tables"], "tables", made),
        Step("leaderboard", words, "leaderboard", [built.name, *made]),
    ]
    return Plan(steps, results)


def build_step(arguments: ReproductionArguments) -> Step:
    """The step that builds the benchmark; it depends on the content of the raw files, unless it downloads them."""
    given = {one.name: getattr(arguments, one.name) for one in fields(BuildArguments) if one.name not in _NOT_OF_BUILD}
    given |= {name: absolute(given[name]) for name in ("polarity", "embedding_model")}
    defaults = defaults_of(BuildArguments) | {"domain": None}
    words = words_of({name: value for name, value in given.items() if value != defaults[name]})
    depends_on = {}
    if not is_downloaded(arguments):
        from dataset_builders.building.stage_cache import digest_of

        source, _ = source_from(arguments, also=("journal",))
        depends_on["raw files"] = digest_of({"source": source.inputs(), "journal": list(arguments.journal or ())})
    made = ["--output_dir", "benchmark", "--cache_dir", "cache/build", "--overwrite"]
    return Step("build", ["build", *words, *made], "benchmark", depends_on=depends_on)


def is_downloaded(arguments: ReproductionArguments) -> bool:
    """Whether the build downloads the raw files.

    Raises:
        ValueError, FileNotFoundError: If the build would refuse the domain or the files before it downloads.
    """
    check_domain(arguments.domain)
    if arguments.source is not None or arguments.raw_dir is not None:
        return False
    check_ranges(vars(arguments), RANGES)
    domain = domain_of(arguments, ("journal",))
    has_days = arguments.first_day is not None or arguments.last_day is not None  # which no download takes
    return not has_days and None not in domain.files.values()


def ids_step(arguments: ReproductionArguments) -> Step:
    """The step that learns the semantic IDs, of embeddings by the model of the benchmark."""
    from .sample import SAMPLE_IDS

    size = {name: value for name, value in SAMPLE_IDS.items() if name != "embedding_dtype"}
    size = size if arguments.domain in SMALL_DOMAINS else CPU_IDS
    given = arguments.learn_ids
    try:
        options = words_of(size) if given is None else shlex.split(given)
    except ValueError as error:
        raise ValueError(f'--learn_ids "{given}": {error}; see mender learn-ids --help.') from None
    model = {"embedding_model": absolute(arguments.embedding_model), "embedding_dtype": arguments.embedding_dtype}
    words = ["--benchmark", "benchmark", "--domain", arguments.domain, "--output_dir", "semantic_ids", "--overwrite"]
    words += [*words_of(model), *options]
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            parse_ids(words)
    except (ValueError, SystemExit) as error:  # the latter: of argparse, after its message
        if not getattr(error, "code", True):  # --help
            raise
        reason = said.getvalue().rpartition(": error: ")[2].strip() or str(error)
        raise ValueError(f'--learn_ids "{given}": {reason.rstrip(".")}; see mender learn-ids --help.') from None
    return Step("learn_ids", ["learn-ids", *words], "semantic_ids", ["build"])


def train_step(name: str, recipe: Recipe, seed: int) -> Step:
    """The step that trains a method with a seed; it depends on all arguments of the training."""
    folder = f"models/{name}/seed_{seed}"
    changes = recipe.changes | {"output_dir": folder, "seed": seed}
    arguments = dataclasses.replace(recipe.arguments, **changes)
    words = ["train", recipe.word, *words_of({"domain": arguments.domain, **changes})]
    reads = ["build", "learn_ids"] if recipe.needs_ids else ["build"]
    return Step(f"train_{name}_seed_{seed}", words, folder, reads, {"arguments": asdict(arguments)})


def read_recipes(arguments: ReproductionArguments) -> dict[str, Recipe]:
    """Reads the recipes of the methods, by the names that their folders get."""
    recipes: dict[str, Recipe] = {}
    lines: dict[tuple, str] = {}
    for word in arguments.methods:
        found = load_recipe(word, arguments.domain, resource("scripts/recipes"), benchmark="benchmark")
        changes: dict[str, Any] = {"benchmark": "benchmark"}
        if isinstance(found, DecoderArguments):
            changes["semantic_ids"] = "semantic_ids"
        if isinstance(found, TextEncoderArguments) and absolute(found.text_encoder) != found.text_encoder:
            changes["text_encoder"] = absolute(found.text_encoder)
        if isinstance(found, CachedEncoderArguments) and found.cache_dir is not None:
            changes["cache_dir"] = "cache/frozen"
        is_file = Path(word).is_file()
        name = Path(word).stem if is_file else word.replace("/", "_")
        line = (found.method, found.mixture, found.inputs, getattr(found, "text_encoder", None))
        if name in recipes or line in lines:
            raise ValueError(
                f"{word} and {lines.get(line, name)} would be one line of the tables, {found.method}; name one of "
                "them, or give each an --output_dir of its own."
            )
        lines[line] = word
        recipes[name] = Recipe(str(Path(word).resolve()) if is_file else word, found, changes)
    return recipes


def words_of(values: Mapping[str, Any]) -> list[str]:
    """Options of a command line; paths are absolute, for a command runs in another folder.

    >>> words_of({"epochs": 5, "hidden_sizes": [32, 16], "reset_unused": True, "device": None})
    ['--epochs', '5', '--hidden_sizes', '32', '16', '--reset_unused']
    """
    words = []
    for name, value in values.items():
        if value is None or value is False:
            continue
        several = [] if value is True else list(value) if isinstance(value, list | tuple) else [value]
        words += [f"--{name}", *(str(one.resolve()) if isinstance(one, Path) else str(one) for one in several)]
    return words


def absolute(model: str | None) -> str | None:
    """Name of a model, which is an absolute path if it is a folder."""
    is_folder = model not in (None, MINILM) and Path(str(model)).is_dir()
    return str(Path(str(model)).resolve()) if is_folder else model
