"""Item texts of semantic IDs and models: the fields that the benchmark embedded, and items without titles."""

import json

import pytest
from benchmark_world import ToySource, hash_embed, item

from dataset_builders.benchmark.report import read_item_text_fields
from dataset_builders.building import text_embedding
from dataset_builders.building.build import build_benchmark
from dataset_builders.building.options import BuildOptions
from dataset_builders.building.sources.tables import TablesSource
from modeling_mender import ItemIdProcessor
from modeling_mender.commands import recommend
from modeling_mender.commands.learn_ids import SemanticIdArguments, learn_semantic_ids
from modeling_mender.commands.training_run import read_catalogue, train_on_benchmark
from modeling_mender.training.arguments import make_arguments

KINDS = ["soap", "lamp", "comb", "vase", "mug", "bell"]


def build(folder, fields=None):
    shop = [item(number, f"{kind} {number}", "Dove", ["Shop", kind]) for number, kind in enumerate(KINDS, 1)]
    shop = [{**one, "description": f"made of walnut number {one['item_id']}"} for one in shop]
    users = [[(user + step) % 6 + 1 for step in range(5)] for user in range(6)]
    options = BuildOptions(min_count=1, **({} if fields is None else {"item_text_fields": fields}))
    build_benchmark(ToySource(users, shop, rating=5.0), "toy", folder, hash_embed, options=options, progress=False)
    return str(folder)


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    return build(tmp_path_factory.mktemp("described") / "benchmark", ("title", "description"))


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return build(tmp_path_factory.mktemp("usual") / "benchmark")


@pytest.fixture
def embedded(monkeypatch):
    """The texts that were embedded, and the models asked for."""
    seen = {"texts": [], "models": []}

    def load_embedder(name, **options):
        seen["models"].append(name)
        return lambda texts: seen["texts"].extend(texts) or hash_embed(texts)

    monkeypatch.setattr(text_embedding, "load_embedder", load_embedder)
    return seen


def learn(benchmark, folder, **given):
    settings = {"method": "residual_kmeans", "num_codebooks": 2, "codebook_size": 3, **given}
    learn_semantic_ids(SemanticIdArguments(benchmark=benchmark, output_dir=folder / "ids", **settings))
    return json.loads((folder / "ids" / "report.json").read_text())["settings"]


def catalogue(benchmark, folder, **given):
    (folder / "ids").is_dir() or learn(benchmark, folder)
    given = {"method": "mender_tok", **given}
    paths = {"benchmark": benchmark, "output_dir": str(folder / "model"), "semantic_ids": str(folder / "ids")}
    return read_catalogue(make_arguments(**paths, domain="toy", **given))


def test_semantic_ids_embed_the_fields_of_the_benchmark_unless_others_are_given(described, embedded, tmp_path):
    settings = learn(described, tmp_path)
    assert embedded["texts"][0] == "soap 1; description: made of walnut number 1"
    assert settings["item_fields"] == ["title", "description"] and settings["embedding_model"] == "minilm"
    embedded["texts"].clear()
    assert learn(described, tmp_path, item_fields=["title", "brand"], overwrite=True)["item_fields"] == [
        "title",
        "brand",
    ]
    assert embedded["texts"][0] == "soap 1; brand: Dove"


def test_semantic_ids_of_a_domain_of_the_paper_are_learned_in_the_space_of_its_benchmark(embedded, tmp_path):
    shop = [item(number, f"{kind} {number}") for number, kind in enumerate(KINDS, 1)]
    source = ToySource([[1, 2, 3, 4, 5, 6]] * 3, shop, rating=5.0)
    build_benchmark(source, "toys", tmp_path / "b", hash_embed, options=BuildOptions(min_count=1), progress=False)
    assert learn(str(tmp_path / "b"), tmp_path)["embedding_model"] == "sentence-transformers/sentence-t5-base"
    assert embedded["models"] == ["sentence-transformers/sentence-t5-base"]


def test_models_read_and_embed_the_fields_of_the_benchmark(described, embedded, tmp_path):
    made = catalogue(described, tmp_path)
    assert made.embedding_texts[1] == "lamp 2; description: made of walnut number 2"
    assert made.plain_texts[1] == "lamp 2, Dove, Shop, lamp, made of walnut number 2"
    assert made.items[1] == {"title": "lamp 2", "text": "Title: lamp 2; description: made of walnut number 2"}
    assert catalogue(described, tmp_path, item_fields=["title"]).items[1]["text"] == "Title: lamp 2"


def test_the_usual_fields_leave_every_text_as_it_was(usual, embedded, tmp_path):
    made = catalogue(usual, tmp_path)
    assert embedded["texts"][0] == made.embedding_texts[0] == "soap 1; brand: Dove; categories: Shop, soap"
    assert made.plain_texts[0] == "soap 1, Dove, Shop, soap"
    assert made.items[0] == {"title": "soap 1", "text": "Title: soap 1"}


def test_a_folder_without_reports_has_the_usual_fields(tmp_path):
    assert read_item_text_fields(tmp_path, "toy") == ("title", "price", "brand", "categories")


@pytest.fixture(scope="module")
def own_tables(tmp_path_factory):
    """A benchmark of a user's own tables, half of whose items have no title."""
    folder = tmp_path_factory.mktemp("own")
    items = [
        {"item_id": number, "title": None if number % 2 else f"{kind} {number}", "brand": "Dove", "categories": kind}
        for number, kind in enumerate(KINDS, 1)
    ]
    actions = [
        {"user_id": user, "item_id": (user + step) % 6 + 1, "timestamp": step, "rating": 5 - 4 * (step % 2)}
        for user in range(6)
        for step in range(5)
    ]
    for name, rows in (("items", items), ("actions", actions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = TablesSource(folder / "actions.jsonl", folder / "items.jsonl")
    options = BuildOptions(min_count=1)
    report = build_benchmark(source, "toy", folder / "b", hash_embed, options=options, progress=False)
    assert list(report.noted.values()) == [3]
    return str(folder / "b")


def test_items_without_titles_are_learned_trained_on_and_shown_by_brand_and_categories(
    own_tables, embedded, tmp_path, capsys
):
    made = catalogue(own_tables, tmp_path)
    assert len(embedded["texts"]) == len(made.items) == 6
    shown = [one["title"] for one in made.items]
    untitled = [title for title in shown if title.startswith("Dove, ")]
    assert len(untitled) == 3 and "lamp 2" in shown
    assert f"Title: {untitled[0]}" in [one["text"] for one in made.items] and untitled[0] in made.plain_texts
    train_on_benchmark(
        make_arguments(benchmark=own_tables, domain="toy", output_dir=str(tmp_path / "m"), method="most_popular")
    )
    capsys.readouterr()
    assert recommend.main([str(tmp_path / "m" / "model"), "--history", "lamp 2", "--k", "5"]) == 0
    assert capsys.readouterr().out.count("Dove, ") == 3
    assert recommend.main([str(tmp_path / "m" / "model"), "--search", "dove soap"]) == 0
    assert "Dove, soap" in capsys.readouterr().out


def test_a_processor_names_an_item_without_a_title_by_its_number(tmp_path):
    processor = ItemIdProcessor(5, False, items=[{"title": None, "text": "Title: a"}, {"title": "b", "text": "c"}])
    processor.save_pretrained(tmp_path)
    assert processor.titles([1, 2]) == ItemIdProcessor.from_pretrained(tmp_path).titles([1, 2]) == ["item 1", "b"]
