"""Add items to a trained model, or remove some, without training.

    mender update-catalogue outputs/quickstart/model --items new.parquet --remove ids.txt --output_dir outputs/changed

New items get the next ids, in the order of the file; ids of the others stay. Removed ones are never recommended again,
but histories may hold them.
"""

import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_builders.atomic_write import new_directory
from dataset_builders.commands.command_line import USER_ERRORS, CommandParser, HelpFormatter, defaults_of, run_command
from dataset_builders.replacing import PUBLISHED, check_replaceable, other_values

if TYPE_CHECKING:
    import torch

    from ..catalog_recipe import PROBED_ITEMS, CatalogRecipe

MAX_ID_DIGITS = 18


@dataclass(kw_only=True)
class CatalogUpdate:
    """Arguments of [`update_catalogue`]; see `--help` for what each is."""

    model: str
    items: Path | None = None
    remove: Path | None = None
    output_dir: Path
    overwrite: bool = False
    semantic_ids: Path | None = None
    revision: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuses an update without a change."""
        if self.items is None and self.remove is None:
            raise ValueError("nothing to change: give --items, a table of items to add, or --remove, a file of ids.")


def parse_arguments(argv: list[str] | None) -> CatalogUpdate:
    """Reads the command line."""
    parser = CommandParser(description=__doc__.split("\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("model", help="folder of a model, or its name on the Hub")
    parser.add_argument(
        "--items",
        type=Path,
        help="items to add: .parquet, .csv or .jsonl with title, brand or categories, and price, description; another "
        "column is refused, an item_id is not kept (a number must be the id that the item gets), and what says the "
        "same as another item is added with a warning",
    )
    parser.add_argument("--remove", type=Path, help="text file with the id of an item to remove in each line")
    parser.add_argument("--output_dir", required=True, type=Path, help="folder of the changed model")
    parser.add_argument("--overwrite", action="store_true", help="replace the output folder if it exists")
    parser.add_argument(
        "--semantic_ids",
        type=Path,
        help="folder of mender learn-ids with the quantizer of the model's semantic IDs; default: the model's own",
    )
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--device", help="device that embeds the new items")
    parser.set_defaults(**defaults_of(CatalogUpdate))
    return CatalogUpdate(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Changes the catalog; returns 0, or 1 after one line on bad input."""
    return run_command(lambda: update_catalogue(parse_arguments(argv)), (*USER_ERRORS, MemoryError))


def update_catalogue(arguments: CatalogUpdate) -> None:
    """Changes the catalog of a model and saves it as a model folder.

    Removals come first, unless they would leave no recommender, so that their semantic IDs are free for the new items.
    """
    check_replaceable(arguments.output_dir, arguments.overwrite, PUBLISHED["model"], other_values(arguments))
    lines = {} if arguments.remove is None else read_ids(arguments.remove)
    removed = list(lines)
    records: list[dict[str, Any]] = []
    if arguments.items is not None:
        try:
            from dataset_builders.building.sources.tables import read_items_table
        except ImportError as error:
            raise ImportError(f"{error}; pip install 'mender-recommender[benchmark]', which reads tables.") from None
        records = read_items_table(arguments.items)

    # after parsing: --help does not wait for torch
    from ..catalog_update import LEAST_ITEMS, LivingCatalog, check_new_items
    from ..hub.catalog_changes import append_change, read_changes, with_unlisted, write_changes
    from ..hub.loading import load_recommender, local_folder
    from ..hub.model_publication import copy_records
    from ..manifest import write_manifest
    from ..request_values import counted

    model, processor = load_recommender(arguments.model, arguments.revision, arguments.device)
    if not isinstance(model, LivingCatalog):
        raise ValueError(
            f"a {model.config.model_type} knows items by their training alone, without texts; train it again with the "
            "new items, or use a model with semantic IDs, such as mender_steer."
        )
    source = local_folder(arguments.model, arguments.revision)
    changes = read_changes(source)
    if arguments.semantic_ids is not None:
        processor.recipe = _recipe_of(arguments.semantic_ids, model, processor)
    changes = with_unlisted(changes, model.num_trained_items, processor.items, processor.items_digest)
    started = time.perf_counter()
    gone, known = set(processor.removed_items), range(1, 1 + processor.num_items)
    for item, line in lines.items():
        if item in gone or item not in known:
            what = "removed already" if item in gone else f"no item of this catalog (ids 1..{len(known)})"
            raise ValueError(f"line {line} of {arguments.remove} is {item}, which is {what}; leave it out.")

    def remove() -> None:
        if removed:
            model.remove_items(removed, processor)

    def add() -> list[int]:
        if not records:
            return []
        check_new_items(records, processor.num_items + 1, processor.further_fields)
        codes = None if processor.recipe is None else codes_of(records, processor.recipe, model, processor)
        return model.add_items(records, processor, codes=codes)

    if model.num_active_items - len(removed) >= LEAST_ITEMS:
        remove()  # first, so that their semantic IDs are free
        added = add()
    else:
        added = add()
        remove()
    changed = time.perf_counter()
    changes = append_change(changes, added, removed, model.config.num_items, processor.items_digest)
    with new_directory(arguments.output_dir, arguments.overwrite) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        copy_records(source, folder, None)
        write_changes(changes, folder)
        _write_card(folder, arguments.output_dir)
        write_manifest(folder, processor.num_items)
    seconds = time.perf_counter() - changed
    print(
        f"{counted(len(added), 'item')} added{_ids(added)}, {len(removed):,} removed: {model.num_active_items:,} can "
        f"be recommended\nchange {changes[-1]['id']} in {changed - started:.1f} s, saved in {seconds:.1f} s\n"
        f"model: {arguments.output_dir}"
    )


def read_ids(path: Path) -> dict[int, int]:
    """Reads a text file with an item id in each line; empty lines are passed over.

    Returns:
        `dict[int, int]`: Number of the line by id, in the order of the lines.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is no id, or there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--remove {path} does not exist, or is no file; correct the path.")
    found: dict[int, int] = {}
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if not (text := line.strip()):
                    continue
                if not re.fullmatch(r"[0-9]+", text, re.ASCII) or len(text) > MAX_ID_DIGITS:
                    raise ValueError(
                        f"line {number} of {path} is {text[:60]!r}, which is no item id; give whole numbers."
                    )
                if (item := int(text)) in found:
                    raise ValueError(f"line {number} of {path} repeats item {item} of line {found[item]}; keep one.")
                found[item] = number
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason}); give one item id a line.") from None
    if not found:
        raise ValueError(f"{path} has no item ids; give one a line.")
    return found


def codes_of(
    records: Sequence[Mapping[str, Any]], recipe: "CatalogRecipe", model: Any, processor: Any
) -> "torch.Tensor | None":
    """Learned codes of new items by the text encoder that the quantizer was trained on; `None` where the model's own
    embeddings give them."""
    from ..modeling_mender_base import MenderOnEmbeddings

    if recipe.reads_own_embeddings and isinstance(model, MenderOnEmbeddings):
        return None
    import torch

    from dataset_builders.building.text_embedding import load_embedder

    embed = load_embedder(recipe.embedding_model, dtype="float32")
    return recipe.quantize(torch.as_tensor(embed(recipe.texts(records, processor))))


def _recipe_of(folder: Path, model: Any, processor: Any) -> "CatalogRecipe":
    """The quantizer of a folder, if the folder's IDs are those of the model, and its quantizer gives them."""
    from safetensors.torch import load_file

    from ..catalog_recipe import CatalogRecipe
    from ..modeling_mender_base import MenderOnEmbeddings
    from ..semantic_ids import SemanticIds

    recipe = CatalogRecipe.from_semantic_ids(folder)
    table, embedded = folder / "semantic_ids.parquet", folder / "item_embeddings.safetensors"
    if recipe is None or not table.is_file() or not embedded.is_file():
        raise ValueError(f"{folder} has no quantizer with its IDs and embeddings; give a folder of mender learn-ids.")
    recipe.check()
    codes = SemanticIds.from_parquet(table, model.config.codebook_size).codes
    trained = model.item_semantic_ids[: model.num_trained_items].cpu()
    if codes.shape != trained.shape or not bool((codes == trained).all()):
        raise ValueError(
            f"the semantic IDs in {folder} are not those that the model was trained with; give the folder of mender "
            "learn-ids that its training read."
        )
    probed = slice(0, PROBED_ITEMS)
    embeddings = load_file(embedded)["item_embeddings"][probed]
    recipe.measure(embeddings, codes[probed, :-1])
    if not recipe.reads_own_embeddings:
        raise ValueError(f"the quantizer in {folder} does not give the codes beside it; fetch or learn them again.")
    recipe.own_codes = 0.0
    if processor.recipe is not None:
        recipe.embedded_fields, recipe.history_fields = (
            processor.recipe.embedded_fields,
            processor.recipe.history_fields,
        )
    if isinstance(model, MenderOnEmbeddings) and model.config.embedding_size == recipe.embedding_size:
        import torch

        from dataset_builders.building.text_embedding import load_embedder

        titles = [item["title"] for item in processor.items[probed]]  # any texts: is it the same text encoder?
        own = recipe.quantize(model.embed_texts(titles, processor))
        recipe.measure(torch.as_tensor(load_embedder(recipe.embedding_model, dtype="float32")(titles)), own)
    return recipe


def _write_card(folder: Path, output_dir: Path) -> None:
    """Writes the card, which says what was changed and that nothing was evaluated since."""
    from dataset_builders.resources import resource

    from ..hub.model_card import model_card, write_card

    write_card(model_card(folder, resource("model_cards/model_card.md"), str(output_dir)), folder)


def _ids(items: Sequence[int]) -> str:
    if not items:
        return ""
    return f" (id {items[0]})" if len(items) == 1 else f" (ids {items[0]} to {items[-1]})"


if __name__ == "__main__":
    sys.exit(main())
