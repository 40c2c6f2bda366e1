"""The command learn_semantic_ids on a shop of forty items, with a text encoder that is one letter count per text."""

import importlib.util
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file

from dataset_builders.atomic_write import new_directory
from dataset_builders.building import text_embedding as embed_items
from modeling_mender.modeling_rqvae import RQVAEModel
from modeling_mender.quantization.residual_kmeans import ResidualKMeans


def letter_counts(texts: list[str]) -> np.ndarray:
    counts = np.array(
        [[text.lower().count(letter) for letter in "abcdefghijklmnop"] for text in texts], dtype=np.float32
    )
    return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1)


@pytest.fixture
def command(project, monkeypatch):
    """The script as a module, with the toy text encoder in place of the real one."""
    spec = importlib.util.spec_from_file_location("learn_semantic_ids", project / "scripts" / "learn_semantic_ids.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(embed_items, "load_embedder", lambda name, **options: letter_counts)
    return module


def write_items(benchmark, domain: str = "toy", **changes) -> None:
    words = ["soap", "comb", "lamp", "mango", "fig", "chair", "disk", "bell", "jacket", "plank"]
    items = {
        "item_id": pa.array(range(40, 0, -1), type=pa.int32()),  # not in order: the command sorts
        "title": [f"{words[(40 - row) % 10]} {words[(40 - row) // 10]}" for row in range(40)],
        "price": pa.array([None] * 40, type=pa.float32()),
        "brand": [""] * 40,
        "categories": pa.array([["Shop"]] * 40, type=pa.list_(pa.string())),
        **changes,
    }
    folder = benchmark / f"{domain}_items"
    folder.mkdir(parents=True)
    pq.write_table(
        pa.table({k: v for k, v in items.items() if v is not None}), folder / "train-00000-of-00001.parquet"
    )


SMALL = ["--num_codebooks", "2", "--codebook_size", "8", "--epochs", "6", "--hidden_sizes", "16", "4"]


@pytest.mark.parametrize("method", ["rqvae", "residual_kmeans"])
def test_command_writes_ids_embeddings_report_and_quantiser(command, tmp_path, method: str, capsys):
    write_items(tmp_path / "benchmark")
    output = tmp_path / "ids"
    arguments = ["--benchmark", str(tmp_path / "benchmark"), "--output_dir", str(output), "--method", method, *SMALL]
    assert command.main(arguments) == 0
    assert "distinct before collisions" in capsys.readouterr().out

    table = pq.read_table(output / "semantic_ids.parquet")
    assert table.schema.equals(pa.schema({"item_id": pa.int32(), "codes": pa.list_(pa.int32())}))
    assert table["item_id"].to_pylist() == list(range(1, 41))
    ids = np.array(table["codes"].to_pylist())
    assert ids.shape == (40, 3) and len(np.unique(ids, axis=0)) == 40

    embeddings = load_file(output / "item_embeddings.safetensors")["item_embeddings"]
    titles = pq.read_table(tmp_path / "benchmark" / "toy_items" / "train-00000-of-00001.parquet")["title"].to_pylist()[
        ::-1
    ]
    np.testing.assert_array_equal(embeddings, letter_counts([f"{title}; categories: Shop" for title in titles]))

    report = json.loads((output / "report.json").read_text())
    assert report["num_distinct"] == len(np.unique(ids[:, :2], axis=0))
    assert report["settings"]["method"] == method and report["seconds"].keys() == {"embedding", "quantization"}
    if method == "rqvae":
        import torch

        codes = RQVAEModel.from_pretrained(output / "rqvae").encode(torch.from_numpy(embeddings)).numpy()
        assert len((output / "rqvae" / "training.jsonl").read_text().splitlines()) == 4  # six epochs, two of warm-up
    else:
        codes = ResidualKMeans.load(output / "residual_kmeans.safetensors").encode(embeddings)
    np.testing.assert_array_equal(codes, ids[:, :2])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["benchmark", "ids"]


def test_the_same_seed_gives_the_same_ids(command, tmp_path):
    write_items(tmp_path / "benchmark")
    for name in ("first", "second"):
        command.main(["--benchmark", str(tmp_path / "benchmark"), "--output_dir", str(tmp_path / name), *SMALL])
    first, second = (pq.read_table(tmp_path / name / "semantic_ids.parquet") for name in ("first", "second"))
    assert first.equals(second)


def test_an_existing_output_is_replaced_only_when_asked(command, tmp_path, capsys):
    write_items(tmp_path / "benchmark")
    output = tmp_path / "ids"
    output.mkdir()
    (output / "precious.txt").write_text("keep me")
    arguments = [
        "--benchmark",
        str(tmp_path / "benchmark"),
        "--output_dir",
        str(output),
        "--method",
        "residual_kmeans",
    ]
    assert command.main([*arguments, *SMALL]) == 1
    assert "pass --overwrite" in capsys.readouterr().err
    assert (output / "precious.txt").read_text() == "keep me"
    assert command.main([*arguments, *SMALL, "--overwrite"]) == 1
    assert "holds precious.txt, which this command does not write" in capsys.readouterr().err
    assert (output / "precious.txt").read_text() == "keep me"
    (output / "precious.txt").unlink()
    for _ in range(2):
        assert command.main([*arguments, *SMALL, "--overwrite"]) == 0
        assert (output / "report.json").exists()


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, ["--codebook_size", "64"], "codebook_size (64) is larger than the number of items (40)"),
        ({}, ["--domain", "beauty"], "--domain beauty: no such domain in"),
        ({}, ["--item_fields", "titel"], "--item_fields titel: no such column"),
        ({"brand": None}, [], "lack the columns brand"),
        ({"item_id": pa.array([1] * 40, type=pa.int32())}, [], "item ids must be 1..40, each once"),
        ({"title": ["soap"] * 40}, [], "40 items have the text 'soap; categories: Shop'"),
        ({}, ["--num_codebooks", "0"], "--num_codebooks (0) must be in 1.."),
        ({}, ["--hidden_sizes", "8", "0"], "--hidden_sizes (0) must be in 1.."),
        ({}, ["--batch_size", "-3"], "--batch_size (-3) must be in 1.."),
        ({}, ["--seed", "-1"], "--seed (-1) must be in 0..4294967293"),
        ({}, ["--seed", "18446744073709551616"], "must be in 0..4294967293"),
        ({}, ["--learning_rate", "nan"], "--learning_rate (nan) must be a finite number"),
        ({}, ["--weight_decay", "inf"], "--weight_decay (inf) must be a finite number"),
        ({}, ["--warmup_epochs", "6"], "--warmup_epochs (6) must be in 0..5"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(command, tmp_path, capsys, changes, arguments, message: str):
    write_items(tmp_path / "benchmark", **changes)
    everything = ["--benchmark", str(tmp_path / "benchmark"), "--output_dir", str(tmp_path / "ids")]
    small = [word for at in (0, 2, 4) if SMALL[at] not in arguments for word in SMALL[at : at + 2]]
    small += SMALL[6:] if SMALL[6] not in arguments else []
    assert command.main([*everything, "--method", "residual_kmeans", *small, *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["benchmark"]


def test_neither_directory_nor_dataset_is_named(command, tmp_path, capsys):
    everything = ["--benchmark", "org/no-such-benchmark", "--output_dir", str(tmp_path / "ids")]
    assert command.main(everything) == 1
    assert "give --domain" in capsys.readouterr().err
    assert command.main([*everything, "--domain", "toy"]) == 1
    assert "org/no-such-benchmark is not a local directory, and the Hub did not provide it" in capsys.readouterr().err


def test_a_second_run_into_the_same_folder_is_refused_before_the_work(command, tmp_path, capsys):
    write_items(tmp_path / "benchmark")
    arguments = ["--benchmark", str(tmp_path / "benchmark"), "--output_dir", str(tmp_path / "ids"), *SMALL]
    with new_directory(tmp_path / "ids", alone=True) as first:
        assert command.main(arguments) == 1
        assert "another run is writing there" in capsys.readouterr().err
        (first / "semantic_ids.parquet").write_text("the first's")
    assert (tmp_path / "ids/semantic_ids.parquet").read_text() == "the first's"
    assert command.main([*arguments, "--overwrite", "--method", "residual_kmeans"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["benchmark", "ids"]


@pytest.mark.parametrize("method", ["rqvae", "residual_kmeans"])
def test_a_disk_that_fills_up_is_one_line_and_the_old_ids_stay(command, tmp_path, capsys, monkeypatch, method):
    write_items(tmp_path / "benchmark")
    (tmp_path / "ids").mkdir()
    (tmp_path / "ids/semantic_ids.parquet").write_text("old")

    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    arguments = ["--benchmark", str(tmp_path / "benchmark"), "--output_dir", str(tmp_path / "ids"), "--overwrite"]
    assert command.main([*arguments, "--method", method, *SMALL]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and "cannot write (No space left on device)" in error and "ids" in error
    assert [path.name for path in (tmp_path / "ids").iterdir()] == ["semantic_ids.parquet"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["benchmark", "ids"]


def test_a_catalog_of_one_item_gets_ids(command, tmp_path):
    items = {"item_id": pa.array([1], type=pa.int32()), "title": ["soap"], "price": pa.array([None], pa.float32()),
             "brand": [""], "categories": pa.array([["Shop"]], pa.list_(pa.string()))}  # fmt: skip
    (tmp_path / "benchmark/toy_items").mkdir(parents=True)
    pq.write_table(pa.table(items), tmp_path / "benchmark/toy_items/train-00000-of-00001.parquet")
    arguments = ["--benchmark", str(tmp_path / "benchmark"), "--output_dir", str(tmp_path / "ids"), *SMALL]
    arguments[arguments.index("--codebook_size") + 1] = "1"
    assert command.main(arguments) == 0
    assert pq.read_table(tmp_path / "ids/semantic_ids.parquet")["codes"].to_pylist() == [[0, 0, 0]]
