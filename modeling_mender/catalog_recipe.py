"""Recipe by which a new item joins a trained catalog: the fields of its texts, and the quantizer of its codes."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import initialization as init

from .configuration_rqvae import RQVAEConfig
from .item_texts import ITEM_TEXT_FIELDS, labeled_text
from .manifest import ModelFiles, read_json_object
from .modeling_rqvae import RQVAEModel, residual_codes

RECIPE_FILE, QUANTIZER_FILE = "catalog.json", "catalog_quantizer.safetensors"
OWN_EMBEDDINGS = 0.95  # share of items whose codes the model's own embeddings must give, to be used for new ones
PROBED_ITEMS = 256  # items whose codes are computed again, to compare
KINDS = ("rqvae", "residual_kmeans")
# Errors of a recipe that is damaged, by what is.
UNREADABLE = (
    ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError, OverflowError, StrictDataclassError,
)  # fmt: skip


@dataclass
class CatalogRecipe:
    """How a new item gets its texts and its codes.

    Attributes:
        kind (`str`): Quantizer: `rqvae`, or `residual_kmeans`.
        weights (`dict[str, torch.Tensor]`): Its weights.
        settings (`dict`): Configuration of an RQ-VAE.
        embedding_model (`str`): Text encoder whose embeddings it was trained on.
        item_fields (`Sequence[str]`): Fields of an item that were embedded for it.
        embedded_fields (`Sequence[str]`): Fields of an item whose embedding a model reads.
        history_fields (`Sequence[str]`): Fields of an item in a history that is a text.
        own_codes (`float`): Share of the trained items whose codes follow from the embeddings of the model itself.
    """

    kind: str
    weights: dict[str, torch.Tensor]
    settings: dict[str, Any] = field(default_factory=dict)
    embedding_model: str = ""
    item_fields: Sequence[str] = ITEM_TEXT_FIELDS
    embedded_fields: Sequence[str] = ()
    history_fields: Sequence[str] = ()
    own_codes: float = 0.0

    @torch.no_grad()
    def quantize(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Computes learned codes of embeddings of `embedding_model`.

        Args:
            embeddings (`torch.Tensor`): Shape `(num_items, embedding_size)`.

        Returns:
            `torch.Tensor`: Shape `(num_items, num_levels - 1)`, int64.

        Raises:
            ValueError: If the embeddings have another width.
        """
        embeddings = embeddings.float().cpu()
        if embeddings.shape[1] != self.embedding_size:
            raise ValueError(
                f"embeddings have the width {embeddings.shape[1]}, and the quantizer of the catalog was trained on "
                f"{self.embedding_size} numbers of {self.embedding_model}; embed the items with that text encoder."
            )
        if self.kind == "rqvae":
            model = self._empty_rqvae()
            model.load_state_dict(self.weights, assign=True)
            return model.eval().encode(embeddings)
        return residual_codes(embeddings, self.weights["codebooks"])

    def _empty_rqvae(self) -> RQVAEModel:
        """An RQ-VAE of the settings without memory for its weights, for the settings may be a stranger's."""
        with torch.device("meta"), init.no_init_weights():
            return RQVAEModel(RQVAEConfig(**self.settings))

    def texts(self, items: Sequence[Mapping[str, Any]], processor: Any) -> list[str]:
        """Texts of new items whose embeddings are quantized.

        Args:
            items (`Sequence[Mapping]`): Checked records of items.
            processor ([`MenderProcessor`]): Processor of the catalog, for the titles of items without these fields.
        """
        return [labeled_text(item, self.item_fields) or processor.new_item(item)["title"] for item in items]

    def check(self) -> None:
        """Checks types of fields, and that the weights are those of the settings.

        Raises:
            ValueError: If not.
        """
        if self.kind not in KINDS:
            raise ValueError(f"its kind is {self.kind!r:.80}")
        if not isinstance(self.embedding_model, str) or not self.embedding_model.strip():
            raise ValueError("it names no embedding_model")
        for name in ("item_fields", "embedded_fields", "history_fields"):
            fields = getattr(self, name)
            if not isinstance(fields, list | tuple) or not all(isinstance(one, str) for one in fields):
                raise ValueError(f"its {name} are no names")
        own = self.own_codes
        if isinstance(own, bool) or not isinstance(own, int | float) or not 0 <= own <= 1:
            raise ValueError(f"its own_codes are {own!r:.80}")
        expected = {"codebooks": tuple(self.weights["codebooks"].shape)}
        if self.kind == "rqvae":
            expected = {name: tuple(value.shape) for name, value in self._empty_rqvae().state_dict().items()}
        if {name: tuple(value.shape) for name, value in self.weights.items()} != expected or len(
            expected["codebooks"]
        ) != 3:
            raise ValueError("its weights have other shapes than its settings say")
        if not all(value.is_floating_point() and bool(value.isfinite().all()) for value in self.weights.values()):
            raise ValueError("its weights hold numbers that are not finite")

    @property
    def reads_own_embeddings(self) -> bool:
        """Whether embeddings of the model's own text encoder give the codes of its catalog."""
        return self.own_codes >= OWN_EMBEDDINGS

    def measure(self, embeddings: torch.Tensor, codes: torch.Tensor) -> None:
        """Sets `own_codes` by items of the catalog.

        Args:
            embeddings (`torch.Tensor`): Shape `(num_items, width)`, by the model's own text encoder.
            codes (`torch.Tensor`): Shape `(num_items, num_levels - 1)`, learned codes of the same items.
        """
        self.own_codes = 0.0
        if embeddings.shape[1] == self.embedding_size:
            self.own_codes = float((self.quantize(embeddings) == codes.cpu()).all(1).double().mean())

    @property
    def embedding_size(self) -> int:
        """Width of the embeddings that are quantized."""
        if self.kind == "rqvae":
            return int(RQVAEConfig(**self.settings).embedding_size)
        return self.weights["codebooks"].shape[-1]

    def save(self, folder: str | os.PathLike) -> list[str]:
        """Writes `catalog.json` and `catalog_quantizer.safetensors`; returns their paths."""
        paths = [Path(folder) / RECIPE_FILE, Path(folder) / QUANTIZER_FILE]
        fields = {name: value for name, value in vars(self).items() if name != "weights"}
        paths[0].write_text(json.dumps(fields, indent=2, default=list) + "\n", encoding="utf-8")
        save_file({name: value.contiguous() for name, value in self.weights.items()}, paths[1])
        return [str(path) for path in paths]

    @classmethod
    def find(cls, files: ModelFiles) -> "CatalogRecipe | None":
        """Reads the recipe of a model; `None` if it has none.

        Raises:
            ValueError: If a file is damaged, or one of the two is missing.
        """
        path = files.find(RECIPE_FILE)
        if path is None:
            return None
        weights = files.find(QUANTIZER_FILE)
        if weights is None:
            raise ValueError(f"{files.where} has {RECIPE_FILE} and no {QUANTIZER_FILE}; fetch or copy it again.")
        fields = read_json_object(path)
        known = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        try:
            recipe = cls(weights=read_weights(weights), **known)
            recipe.check()
        except UNREADABLE as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{path} describes no quantizer ({reason}); fetch or copy the model again.") from None
        return recipe

    @classmethod
    def from_semantic_ids(cls, folder: str | os.PathLike) -> "CatalogRecipe | None":
        """Reads the quantizer of a folder of `mender learn-ids`; `None` if it has none.

        Raises:
            ValueError: If a file is damaged.
        """
        folder = Path(folder)
        config, clusters = folder / "rqvae" / "config.json", folder / "residual_kmeans.safetensors"
        if config.is_file():
            model = RQVAEModel.from_pretrained(config.parent)
            sizes = ("embedding_size", "hidden_sizes", "num_codebooks", "codebook_size")
            settings = {name: getattr(model.config, name) for name in sizes}
            found = cls("rqvae", model.state_dict(), settings)
        elif clusters.is_file():
            found = cls("residual_kmeans", read_weights(clusters))
        else:
            return None
        report = folder / "report.json"
        learned = read_json_object(report).get("settings", {}) if report.is_file() else {}
        found.embedding_model = learned.get("embedding_model") or ""
        found.item_fields = learned.get("item_fields") or ITEM_TEXT_FIELDS
        return found


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Reads all tensors of a safetensors file.

    Raises:
        ValueError: If it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); it is cut or damaged: fetch or copy it again.") from None
