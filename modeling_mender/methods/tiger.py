"""TIGER and its variants: their batches, and construction from scratch or around a language model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..configuration_semantic_ids import PAD_TOKEN_ID
from ..configuration_tiger import TigerConfig
from ..data.collators import Collator, prefix_batch
from ..data.requests import Example, Request
from ..modeling_tiger import Tiger
from ..processing_mender import count_words, pad_token_rows
from ..processing_tiger import TigerProcessor
from ..training.arguments import LigerArguments, TigerArguments, VocabExtRndArguments
from .building import DECODER_SIZES, Catalogue, longest_text, resolve_text_encoder, scale_code_embeddings

if TYPE_CHECKING:
    from .table import Method


class TokenCollator(Collator):
    """Pads sequences of user, text and code tokens; texts and items are tokenized once."""

    processor: TigerProcessor

    def length(self, request: Request) -> int:
        return len(self._token_ids(request))

    def _token_ids(self, request: Request) -> list[int]:
        return self.processor.token_ids(request.history, request.preferences, request.user)

    def __call__(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        return pad_token_rows([self._token_ids(request) for request in requests], PAD_TOKEN_ID)

    def training_batch(self, rows: Sequence[Sequence[Example]]) -> dict[str, torch.Tensor]:
        """Returns a batch; with a causal history, a row is a sequence: see `GenerativeRetriever.decode_prefixes`."""
        if not self.is_causal:
            return super().training_batch(rows)
        batch = prefix_batch(rows, self.labels)
        del batch["history"], batch["example_mask"]  # they count items, and this model reads tokens
        tokens = self([row[-1].request for row in rows])
        lengths = torch.zeros(batch["labels"].shape[:2], dtype=torch.long)
        for number, row in enumerate(rows):
            lengths[number, : len(row)] = torch.tensor([self.length(example.request) for example in row])
        visible = torch.arange(tokens["input_ids"].shape[1]) < lengths.unsqueeze(-1)
        return batch | {"input_ids": tokens["input_ids"], "example_mask": visible}


def empty_tokenizer() -> PreTrainedTokenizerFast:
    """Returns a tokenizer without words, for the processor of a model that reads no text.

    >>> empty_tokenizer()("Items: red soap")["input_ids"]
    []
    """
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE()))


def build_tiger(
    method: "Method",
    arguments: TigerArguments,
    catalogue: Catalogue,
    examples: Sequence[Example],
    device: torch.device | str = "cpu",
) -> tuple[Tiger, TigerProcessor]:
    """Builds TIGER or VocabExt-RND from scratch; the words of VocabExt-RND are those of the text encoder's tokenizer.

    Args:
        method ([`Method`]): Row of the table of methods.
        arguments: Text encoder, sizes and seed; the caller's random state does not change.
        catalogue ([`Catalogue`]): Items.
        examples (`Sequence[Example]`): Training examples; not used.
        device (defaults to cpu): Device; not used.

    Returns:
        `tuple`: The model in training mode, and its processor.
    """
    tokenizer: PreTrainedTokenizerBase = empty_tokenizer()
    if isinstance(arguments, VocabExtRndArguments) and method.preference != "none":
        tokenizer = AutoTokenizer.from_pretrained(resolve_text_encoder(arguments.text_encoder))
    semantic_ids = catalogue.known_semantic_ids
    config = TigerConfig(
        num_items=semantic_ids.num_items,
        num_levels=semantic_ids.num_levels,
        codebook_size=semantic_ids.codebook_size,
        num_text_tokens=count_words(tokenizer),
        num_encoder_layers=arguments.num_encoder_layers,
        history_format=_history_format(method),
        causal_history=arguments.causal_history,
        **{name: getattr(arguments, name) for name in DECODER_SIZES},
        **method.config,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(arguments.seed)
        model = Tiger(config)
    scale_code_embeddings(model, arguments.code_embedding_std)
    model.set_item_semantic_ids(semantic_ids)
    model.train()
    return model, _processor(method, tokenizer, catalogue, model)


def build_tiger_on_language_model(
    method: "Method",
    arguments: LigerArguments,
    catalogue: Catalogue,
    examples: Sequence[Example],
    device: torch.device | str = "cpu",
) -> tuple[Tiger, TigerProcessor]:
    """Builds LC-REC, VocabExt-LM or LIGER around a pretrained language model; see [`build_tiger`]."""
    name_or_path = resolve_text_encoder(arguments.text_encoder)
    config = {name: getattr(arguments, name) for name in DECODER_SIZES} | dict(method.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(arguments.seed)
        model = Tiger.from_text_encoder(
            name_or_path, catalogue.known_semantic_ids, history_format=_history_format(method), **config
        )
    if not model.config.pretrained_decoder:  # a pretrained decoder initializes its codes like its words
        scale_code_embeddings(model, arguments.code_embedding_std)
    model.train()
    return model, _processor(method, AutoTokenizer.from_pretrained(name_or_path), catalogue, model)


def _history_format(method: "Method") -> str:
    """Returns how items are written; without a history (an ablation), codes get no embeddings."""
    return "semantic_ids" if method.history == "semantic_ids" else "text"


def _processor(
    method: "Method", tokenizer: PreTrainedTokenizerBase, catalogue: Catalogue, model: Tiger
) -> TigerProcessor:
    """Returns the processor of a new model, with the codes of every item for its histories."""
    codes = catalogue.known_semantic_ids.codes.tolist()
    return TigerProcessor(
        tokenizer,
        num_levels=model.config.num_levels,
        codebook_size=model.config.codebook_size,
        history_format=model.config.history_format,
        reads_preferences=method.preference != "none",
        num_user_tokens=model.config.num_user_tokens,
        max_history_length=model.config.max_history_length,
        max_length=longest_text(tokenizer, model.config.text_config),
        items=[item | {"codes": row} for item, row in zip(catalogue.items, codes, strict=True)],
    )
