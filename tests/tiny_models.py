"""A toy world for model tests: tiny random text encoders, a tokenizer made on the spot, a catalogue the eye can
check."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from modeling_mender import (
    MenderEmb,
    MenderEmbProcessor,
    MenderSteer,
    MenderSteerProcessor,
    MenderTok,
    MenderTokProcessor,
    SemanticIds,
    TransitionGraph,
)
from modeling_mender.item_words import ItemWords

WORDS = "instructions items title : . search for avoid look red green blue soap lamp tea mug rose lime".split()
COLOURS, KINDS = ("red", "green", "blue"), ("soap", "lamp", "tea", "mug")
TITLES = [f"{colour} {kind}" for colour in COLOURS for kind in KINDS]  # 12 items
ITEMS = [{"title": title, "text": f"Title: {title}"} for title in TITLES]
SEQUENCES = [(1, 2, 3, 4), (2, 3, 1), (3, 5, 3), (6, 2)]  # what a transition graph is made of


def catalogue() -> SemanticIds:
    """Twelve items: level 1 the colour, level 2 the kind; the third is the collision level, used by nobody."""
    return SemanticIds([[colour, kind, 0] for colour in range(3) for kind in range(4)], codebook_size=4)


def tokenizer(family: str, words: list[str] = WORDS) -> PreTrainedTokenizerFast:
    """A word-level tokenizer that ends a text as the family does: [CLS] ... [SEP] for BERT, ... </s> for T5."""
    specials = {"bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]"], "t5": ["<pad>", "<unk>", "</s>"]}[family]
    vocabulary = {word: number for number, word in enumerate(specials + words)}
    backend = Tokenizer(WordLevel(vocabulary, unk_token=specials[1]))
    backend.normalizer = Lowercase()
    backend.pre_tokenizer = Whitespace()
    end = specials[-1]
    single = f"[CLS] $A {end}" if family == "bert" else f"$A {end}"
    backend.post_processor = TemplateProcessing(
        single=single, special_tokens=[(word, vocabulary[word]) for word in single.replace("$A", "").split()]
    )
    names = {"pad_token": specials[0], "unk_token": specials[1]}
    names |= {"cls_token": "[CLS]", "sep_token": "[SEP]"} if family == "bert" else {"eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=64, **names)


def save_text_encoder(family: str, folder: Path, words: list[str] = WORDS) -> Path:
    """A tiny random text encoder of a family, with its tokenizer, as a checkpoint folder."""
    folder = folder / family
    torch.manual_seed(0)
    size = {"vocab_size": 8 + len(words)}
    if family == "bert":
        model = BertModel(
            BertConfig(**size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
        )
    else:
        model = T5EncoderModel(T5Config(**size, d_model=16, d_ff=16, d_kv=8, num_layers=1, num_heads=2))
    model.save_pretrained(folder)
    tokenizer(family, words).save_pretrained(folder)
    return folder


def build(method: str, family: str, folder: Path, semantic_ids: SemanticIds | None = None, seed: int = 0, **config):
    """A tiny model in evaluation mode, and its processor; random decoder, the toy catalogue where none is given."""
    semantic_ids = semantic_ids if semantic_ids is not None else catalogue()
    checkpoint = save_text_encoder(family, folder)
    torch.manual_seed(seed)
    model_class, processor_class = {
        "tok": (MenderTok, MenderTokProcessor),
        "emb": (MenderEmb, MenderEmbProcessor),
        "steer": (MenderSteer, MenderSteerProcessor),
    }[method]
    items = ITEMS
    if semantic_ids.num_items != len(ITEMS):
        items = [{"title": f"item {i}", "text": f"Title: item {i}"} for i in range(1, semantic_ids.num_items + 1)]
    sizes = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_decoder_layers": 2} | config
    if method == "steer":
        sizes["words"] = ItemWords([item["text"] for item in items])
    model = model_class.from_text_encoder(str(checkpoint), semantic_ids, **sizes)
    embeddings = torch.randn(semantic_ids.num_items, 16, generator=torch.Generator().manual_seed(seed))
    if method == "emb":
        model.set_item_embeddings(embeddings)
    if method == "steer":
        embeddings = torch.nn.functional.normalize(embeddings, dim=-1)
        model.set_item_embeddings(embeddings)
        graph = {"num_text_neighbours": 2, "text_weight": 0.25, "text_embeddings": embeddings}
        model.set_graph(TransitionGraph.from_sequences(SEQUENCES, semantic_ids.num_items, **graph))
    if method == "steer" and model.config.use_decoder:
        with torch.no_grad():  # as if trained: at 0, where they start, the decoder says nothing
            model.decoder_gates.copy_(torch.linspace(0.5, 1.5, semantic_ids.num_levels))
    return model.eval(), processor_class(tokenizer(family), items=items, max_length=64)


def random_codes(num_items: int, num_levels: int, codebook_size: int, seed: int) -> torch.Tensor:
    """Distinct random code tuples in random order, shape (num_items, num_levels)."""
    generator = torch.Generator().manual_seed(seed)
    number = torch.randperm(codebook_size**num_levels, generator=generator)[:num_items]
    powers = codebook_size ** torch.arange(num_levels - 1, -1, -1)
    return number.unsqueeze(1) // powers % codebook_size
