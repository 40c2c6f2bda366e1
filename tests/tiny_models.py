"""The zoo of the tests: tiny random models of every method and text encoders of every family, over a catalog that
the eye can check."""

import dataclasses
from pathlib import Path

import torch
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from dataset_builders.building.text_embedding import load_embedder
from modeling_mender import (
    MenderEmb,
    MenderEmbProcessor,
    MenderSteer,
    MenderSteerProcessor,
    MenderTok,
    MenderTokProcessor,
    SemanticIds,
    Tiger,
    TigerProcessor,
    TransitionGraph,
)
from modeling_mender.data.requests import Example, Request
from modeling_mender.item_words import ItemWords
from modeling_mender.methods.building import Catalogue
from modeling_mender.methods.table import METHODS, Method
from modeling_mender.methods.tiger import TokenCollator, build_tiger, build_tiger_on_language_model
from modeling_mender.training.arguments import TrainingArguments, arguments_class, make_arguments
from modeling_mender.training.lora import apply_finetuning
from modeling_mender.training.output_folder import TrainingState, save_model

REVIEW_WORDS = (
    "i love hate this the soap tea it broke smells of roses and rust never again fine wonderful awful".split()
)
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
    """A tiny model in evaluation mode, and its processor; random decoder, the toy catalog where none is given."""
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


# -- TIGER and its relatives, and every row of the table of methods --

SIZES = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_decoder_layers": 2, "dropout_rate": 0.1}


FAMILIES = ("bert", "t5", "t5-with-decoder")


def row(name, build, history, preference, **changes):
    return Method(name, Tiger, TigerProcessor, TokenCollator, build, history, preference, "", **changes)


SCRATCH = (
    row("tiger", build_tiger, "semantic_ids", "none"),
    row("tiger_user_emb", build_tiger, "semantic_ids", "none", reads_user=True, config={"num_user_tokens": 50}),
    row("vocabext_rnd", build_tiger, "semantic_ids", "text"),
)

PRETRAINED = (
    row("lc_rec", build_tiger_on_language_model, "semantic_ids", "text", config={"pretrained_decoder": True}),
    row("vocabext_lm", build_tiger_on_language_model, "text", "text", config={"pretrained_decoder": True}),
    row("liger", build_tiger_on_language_model, "text", "none"),
)

ROWS = {method.name: method for method in (*SCRATCH, *PRETRAINED)}

VARIANTS = [(name, "bert") for name in ROWS] + [
    (method.name, family) for method in PRETRAINED for family in FAMILIES[1:]
]


def save_language_model(family: str, folder: Path) -> Path:
    """A checkpoint of a family; the one with a decoder is of the FLAN-T5 kind: gated, head untied, heads narrow."""
    if family != "t5-with-decoder":
        return save_text_encoder(family, folder)
    folder = folder / family
    if not folder.exists():
        torch.manual_seed(0)
        config = T5Config(
            vocab_size=32,
            d_model=20,
            d_ff=24,
            d_kv=6,
            num_heads=2,
            num_layers=2,
            num_decoder_layers=3,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            decoder_start_token_id=0,
        )
        T5ForConditionalGeneration(config).save_pretrained(folder)
        tokenizer("t5").save_pretrained(folder)
    return folder


def tiny_arguments(method: str, folder: Path | str, **changes) -> TrainingArguments:
    """As a recipe would give them, tiny; without those of the sizes and the text encoder that the method lacks."""
    names = {one.name for one in dataclasses.fields(arguments_class(method))}
    given = {"benchmark": "outputs/toy/benchmark", "domain": "toy", "output_dir": str(folder), **SIZES, **changes}
    unread = {*SIZES, "text_encoder"} - names
    return make_arguments(method=method, **{name: value for name, value in given.items() if name not in unread})


def tiny_tiger(name, family, folder, semantic_ids=None, seed=0, **arguments):
    """A tiny model in evaluation mode, and its processor."""
    semantic_ids = semantic_ids or catalogue()
    items = ITEMS
    if semantic_ids.num_items != len(ITEMS):
        items = [{"title": f"item {i}", "text": f"Title: item {i}"} for i in range(1, semantic_ids.num_items + 1)]
    method = ROWS[name]
    encoder = str(save_language_model(family, folder))
    given = tiny_arguments(method.name, folder, text_encoder=encoder, seed=seed, **arguments)
    model, processor = method.build(method, given, Catalogue(items, [], semantic_ids), [])
    return model.eval(), processor


def load(folder):
    """A saved model, its weights copied: mapped from a file they lie unaligned, which changes the last bit."""
    model = AutoModel.from_pretrained(folder)
    for weight in (*model.parameters(), *model.buffers()):
        weight.data = weight.data.clone()
    return model


ENCODERS = ("bert", "t5-with-decoder")
CASES = [(name, family) for name in METHODS for family in ENCODERS]
PREFERENCES = ("search for red soap", "avoid blue mug")
ASKED = Request((1, 5, 9), (PREFERENCES[0],), "ada")
EXAMPLES = [Example(Request((1, 5), (PREFERENCES[0],), "ada"), 9), Example(Request((2,), (PREFERENCES[1],), "bob"), 7)]


def tiny_method(name, family, folder, items=ITEMS, seed=0):
    """The row, a tiny model of it in evaluation mode, its processor and its collator, made as training makes them."""
    method = METHODS[name]
    encoder = str(save_language_model(family, folder))
    arguments = tiny_arguments(name, folder, seed=seed, text_encoder=encoder)
    texts = [item["text"] for item in items]
    semantic_ids = catalogue() if method.needs_semantic_ids else None
    model, processor = method.build(
        method, arguments, Catalogue(items, texts, semantic_ids, load_embedder=load_embedder), EXAMPLES
    )
    collator = method.collator_class(processor, model, PREFERENCES)
    return method, model.eval(), processor, collator


def train_tiny(name, folder, family="bert", **changes):
    """`folder/model`, and `folder/adapter` where asked for, as `scripts/train.py` writes them after a step."""
    method = METHODS[name]
    if "text_encoder" not in changes:
        changes["text_encoder"] = str(save_language_model(family, folder))
    arguments = tiny_arguments(name, folder, **changes)
    semantic_ids = catalogue() if method.needs_semantic_ids else None
    model, processor = method.build(
        method,
        arguments,
        Catalogue(ITEMS, [item["text"] for item in ITEMS], semantic_ids, load_embedder=load_embedder),
        EXAMPLES,
    )
    apply_finetuning(model, arguments)
    if changes.get("lora_rank"):
        with torch.no_grad():  # as if trained: LoRA starts at 0
            for weight_name, weight in model.named_parameters():
                if ".lora_" in weight_name:
                    weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(len(weight_name)))
    save_model(model.eval(), processor, TrainingState(step=4, best_step=3, best_score=0.5), arguments)
    return folder / "model"


# -- parts --


class SteeringProcessor(MenderEmbProcessor):
    """Reads what to avoid and strengths, and remembers what it was given; the model sees neither."""

    def __call__(self, history=None, preference=None, avoid=None, strength=None, return_tensors="pt", **kwargs):
        self.given = {"avoid": avoid, "strength": strength}
        return super().__call__(history, preference, return_tensors)


class SteeringModel(MenderEmb):
    """Whose score is the sum of two terms, different for each request and rank."""

    def recommend(self, *args, return_terms=False, **kwargs):
        found = super().recommend(*args, **kwargs)
        half = found.scores.square()
        found.terms = {"history": half, "preference 1": found.scores - half} if return_terms else None
        return found


def load_steering(folder):
    """A model that is asked for terms, and its processor, from any folder of a tiny Mender_Emb."""
    return SteeringModel.from_pretrained(folder).eval(), SteeringProcessor.from_pretrained(folder)


class TableOfLogProbs:
    """A model whose log-probabilities depend on the whole prefix: a table drawn at random, one row per prefix."""

    def __init__(self, batch_size, codebook_size, seed):
        self.batch_size, self.codebook_size, self.seed = batch_size, codebook_size, seed
        self.prefixes = None

    def log_probs(self, request, prefix):
        generator = torch.Generator().manual_seed(hash((self.seed, request, *prefix)) % 2**31)
        return torch.randn(self.codebook_size, generator=generator).log_softmax(-1)

    def __call__(self, level, codes, parents):
        if codes is None:
            self.prefixes = [[()] for _ in range(self.batch_size)]
        else:
            self.prefixes = [
                [
                    (*self.prefixes[b][parent], code)
                    for code, parent in zip(codes[b].tolist(), parents[b].tolist(), strict=True)
                ]
                for b in range(self.batch_size)
            ]
        return torch.stack([torch.stack([self.log_probs(b, p) for p in row]) for b, row in enumerate(self.prefixes)])

    def score(self, request, code):
        return sum(self.log_probs(request, code[:level])[code[level]].item() for level in range(len(code)))


catalogues = st.sets(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=50).flatmap(
    lambda codes: st.permutations(sorted(codes))
)
IDS = SemanticIds(random_codes(num_items=30, num_levels=3, codebook_size=5, seed=3), codebook_size=5)


def tiny_random_roberta(folder, labels=("NEGATIVE", "POSITIVE")):
    """A random classifier, one layer wide enough to disagree with itself from text to text."""
    torch.manual_seed(3)
    config = RobertaConfig(
        vocab_size=8 + len(REVIEW_WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=80,
        type_vocab_size=1,
        pad_token_id=0,
        initializer_range=1.0,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    RobertaForSequenceClassification(config).save_pretrained(folder)
    tokenizer("bert", REVIEW_WORDS).save_pretrained(folder)
    return folder
