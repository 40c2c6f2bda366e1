"""Trains a sequential model of RecBole on a benchmark, and writes its rankings as a run file.

    recbole_env/bin/python scripts/recbole_run.py --model GRU4Rec --benchmark outputs/quickstart/benchmark \\
        --domain sample --output runs/gru4rec.parquet

Runs in an environment of its own (scripts/recbole_requirements.txt), so it knows nothing of the packages beside it: it
reads the benchmark's Parquet files and writes another. The model learns from the rows of `{domain}_recommendation`
train and from nothing else; of its epochs the one with the best NDCG@10 on validation is kept, all items being ranked;
the run file must give the figures of RecBole's own evaluator, or nothing is written. These models read a history
and no preference, so the axis sentiment is left out.

The run file has one row per query: `query` (`{axis}/{row}`), `items` (ids of the benchmark, best first), `scores`.
"""

import argparse
import contextlib
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader
    from recbole.data.dataset import SequentialDataset
    from recbole.trainer import Trainer

MODELS = ("BERT4Rec", "Caser", "FDSA", "GRU4Rec", "HGN", "S3Rec", "SASRec")
FEATURE_MODELS = ("FDSA", "S3Rec")
"""Those that read the brand and the categories of an item too."""

AXES: dict[str, tuple[str, ...]] = {
    "recommendation": ("",),
    "history": ("",),
    "fine": ("",),
    "coarse": ("",),
    "sentiment_with_history": ("", "/negative"),
    "avoid": ("", "/no_preference"),
    "strength": ("", "/no_preference", "/weaker", "/stronger"),
    "compose": ("",),
    "words": ("",),
}
"""Axis with histories -> endings of the queries that its metric needs; all have the same answer, from the history."""
SPLITS = ("train", "validation", "test")
K = 10
"""Cut-off of the metric that selects the epoch, and of the check against RecBole's evaluator."""

NAME = "benchmark"
"""What RecBole calls the dataset: its folder, and the first part of its files' names."""


@dataclass(frozen=True)
class Rows:
    """One split of an axis, as lists with one entry per row: users, histories of item ids (oldest first), targets."""

    users: list[str]
    histories: list[list[int]]
    targets: list[int]

    def with_history(self) -> "Rows":
        """The rows that a model without preferences can answer."""
        kept = [row for row, history in enumerate(self.histories) if history]
        return Rows(*([column[row] for row in kept] for column in (self.users, self.histories, self.targets)))


@dataclass(frozen=True)
class Answer:
    """The ranking of one query: item ids of the benchmark, best first, and their scores. Both empty: no answer."""

    items: Sequence[int] = ()
    scores: Sequence[float] = ()


@dataclass(frozen=True)
class RecBoleData:
    """What RecBole made of the atomic files: its configuration, its dataset, and its loaders of the three splits."""

    config: "Config"
    dataset: "SequentialDataset"
    loaders: "dict[str, TrainDataLoader | FullSortEvalDataLoader]"


@dataclass(frozen=True)
class Trained:
    """A model at its best epoch (counted from 1), and how it came to be; seconds include the validations."""

    trainer: "Trainer"
    validation_ndcg: float
    best_epoch: int
    epochs: int
    seconds: float


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", required=True, choices=MODELS, help="by its name in RecBole")
    parser.add_argument("--benchmark", type=Path, required=True, help="directory that build_benchmark.py wrote")
    parser.add_argument("--domain", required=True, help="domain of the benchmark, as in beauty")
    parser.add_argument("--output", type=Path, required=True, help="the run file, as in runs/gru4rec.parquet")
    parser.add_argument("--split", default="test", choices=SPLITS[1:], help="whose queries are answered")
    parser.add_argument(
        "--axes", nargs="+", choices=list(AXES), help="axes to answer; default: all that the benchmark has"
    )
    parser.add_argument("--depth", type=int, default=39, help="items per query: 20, and 19 that a history may hold")
    parser.add_argument("--loss", default="CE", choices=("CE", "BPR"), help="against all items, or one drawn item")
    parser.add_argument("--epochs", type=int, default=300, help="at most so many")
    parser.add_argument("--patience", type=int, default=10, help="epochs without a better NDCG@10 before stopping")
    parser.add_argument("--pretrain_epochs", type=int, default=20, help="of S3Rec, before its other epochs")
    parser.add_argument("--config_file", type=Path, help="YAML of RecBole's own settings: sizes, rates, batch sizes")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on the CPU")
    parser.add_argument("--seed", type=int, default=0, help="of initialisation, order of rows, dropout")
    arguments = parser.parse_args(argv)
    for name in ("depth", "epochs", "patience", "pretrain_epochs", "threads"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} ({getattr(arguments, name)}) must be at least 1.")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Trains and ranks; returns 0, or 1 after one line on bad input."""
    arguments = parse_arguments(argv)
    try:
        print(run(arguments))
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def run(arguments: argparse.Namespace) -> str:
    """Everything between the arguments and the run file; returns in words what was done."""
    benchmark, domain, split = arguments.benchmark, arguments.domain, arguments.split
    rows = {name: read_axis(benchmark, domain, "recommendation", name).with_history() for name in SPLITS}
    for name, table in rows.items():
        if not table.users:
            raise ValueError(f"{domain}_recommendation of {benchmark} has no row with a history in {name}.")
    queries = read_queries(benchmark, domain, arguments.axes, split)
    classes = read_item_classes(benchmark, domain)
    if len(classes) < K:
        raise ValueError(f"{domain} has {len(classes)} items, and epochs are selected by NDCG@{K}; it needs {K}.")
    check_item_ids([*rows.values(), *queries.values()], len(classes))
    if arguments.model in FEATURE_MODELS and not any(classes):
        raise ValueError(f"{arguments.model} reads brands and categories, and no item of {domain} has any.")
    user_codes = {user: code for code, user in enumerate(dict.fromkeys(u for r in rows.values() for u in r.users))}
    own = read_settings(arguments.config_file)
    depth = min(arguments.depth, len(classes))
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):  # RecBole writes logs where it is started
        length = write_atomic_files(Path(name, NAME), arguments.model, rows, user_codes, classes)
        settings = {**own, **fixed_settings(arguments, Path(name), length, [K, max(depth, K)])}
        data = load_data(arguments, settings)
        unknown = sorted(set(own) - set(data.config.internal_config_dict))  # RecBole would pass over them in silence
        if unknown:
            raise ValueError(
                f"{arguments.config_file} sets {', '.join(unknown)}, which {arguments.model} does not know."
            )
        trained = train(arguments, data, settings)
        start = time.perf_counter()
        recommendation = rank(arguments, data, trained, rows[split], user_codes)
        figures = check_against_recbole(arguments, data, trained, recommendation, rows[split].targets)
        answers = {axis: rank(arguments, data, trained, table, user_codes) for axis, table in queries.items()}
        seconds = time.perf_counter() - start
    write_run(arguments.output, answers, depth, run_metadata(arguments, trained, own, depth, seconds))
    number = sum(map(len, answers.values()))
    return (
        f"{arguments.output}: {number} queries of {', '.join(answers)} ({split}), {depth} items each; best epoch "
        f"{trained.best_epoch} of {trained.epochs}, {trained.seconds:.0f} s; on recommendation "
        f"recall@{K} {figures['recall']:.4f} and ndcg@{K} {figures['ndcg']:.4f}, as RecBole's evaluator finds."
    )


def read_config(benchmark: Path, config: str, split: str, columns: list[str]) -> pa.Table | None:
    """One split of one config of the benchmark; `None` where it does not have that config."""
    if not (benchmark / config).is_dir():
        return None
    files = sorted((benchmark / config).glob(f"{split}-*.parquet"))
    if not files:
        raise ValueError(f"{benchmark / config} has no split {split!r}; build the benchmark again.")
    return pa.concat_tables([pq.read_table(file, columns=columns) for file in files])


def read_axis(benchmark: Path, domain: str, axis: str, split: str) -> Rows:
    """The rows of one axis.

    Raises:
        ValueError: If there is no such benchmark, domain, axis or split.
    """
    if not benchmark.is_dir():
        raise ValueError(f"{benchmark} is no directory; pass the one that mender build wrote.")
    table = read_config(benchmark, f"{domain}_{axis}", split, ["user_id", "history", "target"])
    if table is None:
        found = sorted(path.name for path in benchmark.glob("*_*") if path.is_dir())
        raise ValueError(
            f"{benchmark} has no config {domain}_{axis}; it has {', '.join(found) or 'no config at all'}."
        )
    return Rows(*(table[column].to_pylist() for column in ("user_id", "history", "target")))


def read_queries(benchmark: Path, domain: str, axes: list[str] | None, split: str) -> dict[str, Rows]:
    """The axes that were asked for, or all that the benchmark has."""
    present = [axis for axis in AXES if (benchmark / f"{domain}_{axis}").is_dir()]
    return {axis: read_axis(benchmark, domain, axis, split) for axis in axes or present}


def read_item_classes(benchmark: Path, domain: str) -> list[list[int]]:
    """For each item of the catalog, in the order of ids 1..N, the numbers of its brand and of its categories.

    Raises:
        ValueError: If the catalog is not there, or its ids are not 1..N.
    """
    table = read_config(benchmark, f"{domain}_items", "train", ["item_id", "brand", "categories"])
    if table is None:
        raise ValueError(f"{benchmark} has no config {domain}_items; build the benchmark again.")
    if table["item_id"].to_pylist() != list(range(1, len(table) + 1)):
        raise ValueError(f"the ids of {domain}_items are not 1..{len(table)} in order; build the benchmark again.")
    numbers: dict[tuple[str, str], int] = {}
    classes = []
    for brand, categories in zip(table["brand"].to_pylist(), table["categories"].to_pylist(), strict=True):
        names = [("brand", brand or ""), *(("category", category) for category in categories or ())]
        classes.append([numbers.setdefault(name, len(numbers)) for name in dict.fromkeys(names) if name[1]])
    return classes


def check_item_ids(tables: Sequence[Rows], num_items: int) -> None:
    """Holds the rows to the catalog.

    Raises:
        ValueError: If a row names an item that the catalog does not have.
    """
    named = {item for rows in tables for items in (rows.targets, *rows.histories) for item in items}
    strangers = sorted(item for item in named if not 1 <= item <= num_items)
    if strangers:
        raise ValueError(f"rows name the item {strangers[0]}, and the catalog has 1..{num_items}; build it again.")


def item_list(model: str, history: list[int], target: int | None = None) -> list[int]:
    """The list that RecBole gets for a row; `target` is given in training alone.

    It is the history, but for BERT4Rec. This one learns to fill gaps of the list and never looks at the target, so its
    training lists end with it. Asked, it puts the gap in the place of the *oldest* item and moves the others
    (`reconstruct_test_data` of RecBole 1.2.1, also for lists shorter than the longest); so the oldest item is doubled,
    and the whole history is read.
    """
    if model != "BERT4Rec":
        return history
    return [history[0], *history] if target is None else [*history, target]


def write_atomic_files(
    folder: Path,
    model: str,
    rows: Mapping[str, Rows],
    user_codes: Mapping[str, int],
    classes: Sequence[Sequence[int]],
) -> int:
    """Writes RecBole's input: a file of rows per split and the catalog, so that it knows the items that no row has.

    Names of users and classes are given as numbers: any character may stand in them.

    Returns:
        `int`: The length of the longest item list.
    """
    folder.mkdir(parents=True)
    longest = 0
    for split, table in rows.items():
        with (folder / f"{NAME}.{split}.inter").open("w", encoding="utf-8") as file:
            file.write("user_id:token\titem_id_list:token_seq\titem_id:token\n")
            for user, history, target in zip(table.users, table.histories, table.targets, strict=True):
                items = item_list(model, history, target if split == "train" else None)
                longest = max(longest, len(items))
                file.write(f"{user_codes[user]}\t{' '.join(map(str, items))}\t{target}\n")
    with (folder / f"{NAME}.item").open("w", encoding="utf-8") as file:
        file.write("item_id:token\tclass:token_seq\n")
        for item, numbers in enumerate(classes, start=1):
            file.write(f"{item}\t{' '.join(map(str, numbers))}\n")
    return longest


def fixed_settings(arguments: argparse.Namespace, folder: Path, length: int, topk: list[int]) -> dict[str, object]:
    """The settings of RecBole that this script answers for: data, loss, selection, evaluation."""
    with_features = arguments.model in FEATURE_MODELS
    drawn = {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False, "candidate_num": 0}
    return {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "benchmark_filename": list(SPLITS),
        "load_col": {
            "inter": ["user_id", "item_id_list", "item_id"],
            "item": ["item_id", "class"] if with_features else ["item_id"],
        },
        "alias_of_item_id": ["item_id_list"],
        "MAX_ITEM_LIST_LENGTH": length,
        "loss_type": arguments.loss,
        "train_neg_sample_args": None if arguments.loss == "CE" else drawn,
        "epochs": arguments.epochs,
        "eval_step": 1,
        "stopping_step": arguments.patience - 1,  # RecBole stops when this is exceeded
        "pretrain_epochs": arguments.pretrain_epochs,
        "save_step": arguments.pretrain_epochs + 1,  # S3Rec saves its own pretraining, in pickles; see `train`
        "train_stage": "pretrain" if arguments.model == "S3Rec" else "finetune",
        "metrics": ["Recall", "NDCG"],
        "topk": topk,  # the depth among them: the evaluator then calls the same topk on the same scores as `rank`
        "valid_metric": f"NDCG@{K}",
        "metric_decimal_place": 12,
        "eval_args": {"order": "TO", "mode": "full"},
        "repeatable": True,
        "seed": arguments.seed,
        "reproducibility": True,
    }


def read_settings(path: Path | None) -> dict[str, object]:
    """The user's settings of RecBole.

    Raises:
        OSError: If the file is not there.
        ValueError: If it is no YAML mapping, or names what the arguments or this script decide.
    """
    if path is None:
        return {}
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{path} must be a mapping from RecBole's settings to values, not {type(settings).__name__}.")
    decided = parse_arguments("--model SASRec --benchmark . --domain . --output .".split())
    clashes = sorted(set(settings) & set(fixed_settings(decided, Path(), 1, [K])))
    if clashes:
        raise ValueError(f"{path} sets {', '.join(clashes)}, which the arguments or the benchmark decide; leave out.")
    return settings


def load_data(arguments: argparse.Namespace, settings: dict[str, object]) -> RecBoleData:
    """Has RecBole read the atomic files."""
    try:
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import init_seed
    except ImportError as error:
        raise ImportError(
            f"this Python ({sys.executable}) does not have RecBole ({error}); make an environment of its own with "
            "scripts/recbole_requirements.txt, and run this script with the Python there."
        ) from None
    import torch

    logging.getLogger().setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning, module="recbole")  # pandas on its chained assignments
    torch.set_num_threads(arguments.threads)
    with no_command_line():
        config = Config(model=arguments.model, dataset=NAME, config_dict=settings)
    init_seed(arguments.seed, reproducibility=True)
    dataset = create_dataset(config)
    return RecBoleData(config, dataset, dict(zip(SPLITS, data_preparation(config, dataset), strict=True)))


@contextlib.contextmanager
def no_command_line() -> Iterator[None]:
    """Hides the arguments from RecBole's `Config`, which would take `--epochs=5` for its own and warn of the rest."""
    argv, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = argv


def train(arguments: argparse.Namespace, data: RecBoleData, settings: dict[str, object]) -> Trained:
    """Trains, and leaves the model at the epoch with the best NDCG@10 on validation.

    The best weights stay in memory. RecBole's checkpoints are pickles of its whole configuration, which torch 2.6 and
    later rightly refuse to load; the weights of S3Rec's pretraining go to its second stage in a file of tensors alone.
    """
    import torch
    from recbole.config import Config
    from recbole.utils import get_model, get_trainer

    model_class = get_model(arguments.model)
    trainer_class = get_trainer(data.config["MODEL_TYPE"], arguments.model)
    show_progress = sys.stderr.isatty()
    start = time.perf_counter()
    config = data.config
    model = model_class(config, data.loaders["train"].dataset).to(config["device"])
    if arguments.model == "S3Rec":
        trainer_class(config, model).fit(data.loaders["train"], verbose=False, show_progress=show_progress)
        print(f"pretraining: {arguments.pretrain_epochs} epochs, {time.perf_counter() - start:.0f} s", file=sys.stderr)
        torch.save({"state_dict": model.state_dict()}, "pretrained.pth")
        with no_command_line():
            second = {**settings, "train_stage": "finetune", "pre_model_path": "pretrained.pth"}
            config = Config(model=arguments.model, dataset=NAME, config_dict=second)
        model = model_class(config, data.loaders["train"].dataset).to(config["device"])

    best: dict[str, torch.Tensor] = {}
    scores: list[float] = []

    def keep_the_best(epoch: int, score: float) -> None:
        if score > max(scores, default=-1.0):
            best.update({name: value.detach().clone() for name, value in model.state_dict().items()})
        scores.append(score)
        spent = time.perf_counter() - start
        print(f"epoch {epoch + 1}: validation NDCG@{K} {score:.5f}, {spent:.0f} s", file=sys.stderr, flush=True)

    trainer = trainer_class(config, model)
    trainer.fit(
        data.loaders["train"],
        data.loaders["validation"],
        verbose=False,
        saved=False,
        show_progress=show_progress,
        callback_fn=keep_the_best,
    )
    model.load_state_dict(best)
    return Trained(trainer, max(scores), int(np.argmax(scores)) + 1, len(scores), time.perf_counter() - start)


def rank(
    arguments: argparse.Namespace,
    data: RecBoleData,
    trained: Trained,
    rows: Rows,
    user_codes: Mapping[str, int],
) -> list[Answer]:
    """The best items of each row, all items being ranked; no answer to a row without a history.

    The histories go to the model from the benchmark's rows, past RecBole's reading of files, and in the batches of its
    evaluator: which makes the comparison of `check_against_recbole` one of two ways.
    """
    import torch
    from recbole.data.interaction import Interaction

    item_tokens = data.dataset.field2id_token["item_id"]  # the benchmark's ids as text, by RecBole's ids; 0 is padding
    ours = np.array([0, *map(int, item_tokens[1:])])
    theirs = np.argsort(ours)
    users = data.dataset.field2token_id["user_id"]
    length, batch_size = data.config["MAX_ITEM_LIST_LENGTH"], data.config["eval_batch_size"]
    model = trained.trainer.model.eval()
    asked = [row for row, history in enumerate(rows.histories) if history]
    answers = [Answer()] * len(rows.histories)
    for start in range(0, len(asked), batch_size):
        batch = asked[start : start + batch_size]
        lists = [theirs[item_list(arguments.model, rows.histories[row])[-length:]] for row in batch]
        inputs = {
            # a user who is new in this axis gets the padding's vector: zeros
            "user_id": torch.tensor([users.get(str(user_codes.get(rows.users[row])), 0) for row in batch]),
            "item_id_list": torch.tensor(np.array([np.pad(items, (0, length - len(items))) for items in lists])),
            "item_length": torch.tensor([len(items) for items in lists]),
        }
        with torch.no_grad():
            scores = model.full_sort_predict(Interaction(inputs).to(data.config["device"])).view(len(batch), -1)
        scores[:, 0] = -torch.inf  # the padding
        best, places = scores.topk(data.config["topk"][-1])
        for row, row_places, row_scores in zip(batch, ours[places.cpu().numpy()], best.cpu().numpy(), strict=True):
            answers[row] = Answer(row_places, row_scores)
    return answers


def check_against_recbole(
    arguments: argparse.Namespace,
    data: RecBoleData,
    trained: Trained,
    answers: Sequence[Answer],
    targets: Sequence[int],
) -> dict[str, float]:
    """Recall and NDCG at 10 of our rankings of recommendation.

    Raises:
        ValueError: If RecBole's evaluator finds other figures, in which case rows or ids were mixed up.
    """
    found = score(answers, targets)
    theirs = trained.trainer.evaluate(data.loaders[arguments.split], load_best_model=False)
    for metric, value in found.items():
        if abs(value - theirs[f"{metric}@{K}"]) > 1e-6:
            raise ValueError(
                f"{metric}@{K} of the rankings is {value:.6f}, and {theirs[f'{metric}@{K}']:.6f} by RecBole's "
                "evaluator: rows or item ids were mixed up, and no run file is written; please report it."
            )
    return found


def score(answers: Sequence[Answer], targets: Sequence[int]) -> dict[str, float]:
    """Recall and NDCG at 10 where each row has one relevant item.

    Example:
        >>> score([Answer([7, 3]), Answer([2])], targets=[3, 4])["recall"]
        0.5
    """
    gains = []
    for answer, target in zip(answers, targets, strict=True):
        places = np.flatnonzero(np.asarray(answer.items[:K]) == target)
        gains.append(1 / np.log2(places[0] + 2) if len(places) else 0.0)
    return {"recall": float(np.mean(np.array(gains) > 0)), "ndcg": float(np.mean(gains))}


def run_metadata(
    arguments: argparse.Namespace, trained: Trained, settings: dict[str, object], depth: int, ranking_seconds: float
) -> dict[str, object]:
    """What the run file says of itself."""
    import recbole

    return {
        "method": f"recbole_{arguments.model.lower()}" + ("" if arguments.loss == "CE" else "_bpr"),
        "domain": arguments.domain,
        "split": arguments.split,
        "num_beams": None,
        "depth": depth,
        "recbole": recbole.__version__,
        "loss": arguments.loss,
        "epochs": trained.epochs,
        "best_epoch": trained.best_epoch,
        "pretrain_epochs": arguments.pretrain_epochs if arguments.model == "S3Rec" else None,
        f"validation_ndcg@{K}": trained.validation_ndcg,
        "seed": arguments.seed,
        "seconds": trained.seconds,
        "ranking_seconds": ranking_seconds,
        "settings": settings,
    }


def write_run(path: Path, answers: Mapping[str, Sequence[Answer]], depth: int, metadata: Mapping[str, object]) -> None:
    """Writes the run file: the `depth` best of each answer, axis by axis in the order of its rows."""
    named = [
        (f"{axis}/{row}{ending}", answer)
        for axis, of_axis in answers.items()
        for ending in AXES[axis]
        for row, answer in enumerate(of_axis)
    ]
    queries, in_order = [query for query, _ in named], [answer for _, answer in named]
    columns = {
        "query": pa.array(queries, pa.string()),
        "items": pa.array([answer.items[:depth] for answer in in_order], pa.list_(pa.int32())),
        "scores": pa.array([answer.scores[:depth] for answer in in_order], pa.list_(pa.float32())),
    }
    table = pa.table(columns).replace_schema_metadata({"mender": json.dumps(metadata)})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    pq.write_table(table, temporary)
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
