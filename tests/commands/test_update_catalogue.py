"""The command update-catalogue: a model folder in, a model folder with another catalog out."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import train_tiny
from transformers import AutoModel, AutoProcessor

from modeling_mender.catalog_recipe import CatalogRecipe
from modeling_mender.commands import recommend, update_catalogue
from modeling_mender.hub import catalog_changes
from modeling_mender.hub.catalog_changes import append_change, as_ranges, read_changes, write_changes
from modeling_mender.manifest import ModelFiles, write_manifest

NEW = "title,brand,categories,price\nPurple zither,,Tea > Mugs,\nred soap with lime,Dove,,12.50\n"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A trained folder whose quantizer reads the embeddings of the model itself."""
    folder = Path(train_tiny("mender_steer", tmp_path_factory.mktemp("steer")))
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    size, width = model.config.codebook_size, model.config.embedding_size
    books = torch.randn(model.config.num_levels - 1, size, width, generator=torch.Generator().manual_seed(0))
    processor.recipe = CatalogRecipe("residual_kmeans", {"codebooks": books}, {}, "minilm", own_codes=1.0)
    processor.recipe.save(folder)
    write_manifest(folder)
    return folder


@pytest.fixture
def new(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text(NEW)
    return path


def run(capsys, *words):
    status = update_catalogue.main([str(word) for word in words])
    printed = capsys.readouterr()
    return status, printed.out, [line for line in printed.err.splitlines() if line.startswith("error: ")]


class TestChanged:
    def test_the_folder_is_a_model_that_recommends_what_was_added(self, source, new, tmp_path, capsys):
        (tmp_path / "ids.txt").write_text("2\n\n5\n")
        out = tmp_path / "out"
        status, printed, errors = run(
            capsys, source, "--items", new, "--remove", tmp_path / "ids.txt", "--output_dir", out
        )
        assert (status, errors) == (0, [])
        before = AutoModel.from_pretrained(source).config.num_items
        assert f"2 items added (ids {before + 1} to {before + 2}), 2 removed: {before:,} can be recommended" in printed
        ModelFiles(out).check(rest=True)
        assert recommend.main([str(out), "--preference", "zither", "--k", "1", "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)["items"]
        assert (found["item_id"], found["title"]) == (before + 1, "Purple zither")
        assert recommend.main([str(out), "--search", "zither", "--json"]) == 0
        assert [item["item_id"] for item in json.loads(capsys.readouterr().out)["items"]] == [before + 1]

    def test_changes_are_listed_in_the_folder_and_the_card(self, source, new, tmp_path, capsys):
        (tmp_path / "ids.txt").write_text("1\n")
        first, second = tmp_path / "first", tmp_path / "second"
        assert run(capsys, source, "--items", new, "--output_dir", first)[0] == 0
        assert run(capsys, first, "--remove", tmp_path / "ids.txt", "--output_dir", second)[0] == 0
        one, two = read_changes(second)
        number = AutoModel.from_pretrained(source).config.num_items
        assert (one["parent"], one["added"], one["removed"]) == (None, f"{number + 1}-{number + 2}", "")
        assert (two["parent"], two["added"], two["removed"]) == (one["id"], "", "1")
        card = (second / "README.md").read_text()
        assert (
            f"each of the {number + 1} items" in card
            and f"Item ids are 1 to {number + 2}, without the removed" in card
        )
        titles = AutoProcessor.from_pretrained(second).titles(range(1, 5))
        assert (
            "processor(history=[[2, 3, 4]], " in card and f"Search for {titles[3]}" in card and titles[0] not in card
        )
        assert "## Changes of the catalog" in card and f"| `{two['id']}` | `{one['id']}` |" in card

    def test_parquet_and_its_own_keys(self, source, tmp_path, capsys):
        pq.write_table(pa.table({"item_id": ["B01"], "title": ["blue zither"]}), tmp_path / "new.parquet")
        status, printed, _ = run(capsys, source, "--items", tmp_path / "new.parquet", "--output_dir", tmp_path / "out")
        assert status == 0 and "1 item added (id " in printed

    def test_what_is_added_twice_is_counted_in_a_warning(self, source, new, tmp_path, capsys, caplog):
        assert run(capsys, source, "--items", new, "--output_dir", tmp_path / "once")[0] == 0 and not caplog.messages
        new.write_text("\n".join(NEW.splitlines()[:2]) + "\n")
        status, _, errors = run(capsys, tmp_path / "once", "--items", new, "--output_dir", tmp_path / "twice")
        assert (status, errors) == (0, [])
        assert "title and text of 1 of 1 new items are those of another item" in caplog.messages[0]


class TestRefused:
    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ("title\n", "holds no rows"),
            ("name\nsoap\n", "lacks the column 'title' or 'brand' or 'categories'"),
            ("title,brand\n,\n", "neither title nor brand nor categories"),
            ("item_id,title\n1,soap\n", "has the item_id 1, which exists already"),
            ("item_id,title\n900,soap\n", "has the item_id 900, which would leave a gap"),
            ("item_id,title\na,soap\na,tea\n", "stand in more than one row"),
            ("title,colour,brand\nsoap,red,Dove\n", "has columns that no item to add has: 'colour'; drop or rename"),
            ("title,price\nsoap,3\ntea,abc\n", "a price is no amount of at least 0: 'abc' in line 3; correct"),
            ("title,price\nsoap,-3\n", "'-3' in line 2"),
            ("title\nsoap\x1b[2J\n", "the title of new item 1 (id"),
            ("title,categories\nsoap,Bath > \x07\n", "which holds a control character, U+0007"),
        ],
    )
    def test_a_table_that_cannot_be_added(self, table, message, source, tmp_path, capsys):
        (tmp_path / "new.csv").write_text(table)
        status, _, errors = run(capsys, source, "--items", tmp_path / "new.csv", "--output_dir", tmp_path / "out")
        assert status == 1 and message in errors[0]
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("ids", "message"),
        [
            (b"", "has no item ids"),
            (b"soap\n", "line 1 of"),
            (b"1\n2\n1\n", "line 3 of"),
            (b"1\n\xff\n", "no text in UTF-8"),
            (b"-3\n", "no item id"),
            (b"1\n\n900\n", "line 3 of"),
            (b"900\n", "900, which is no item"),
            (b"1" * 400, "no item id"),
        ],
    )
    def test_ids_that_cannot_be_removed(self, ids, message, source, tmp_path, capsys):
        (tmp_path / "ids.txt").write_bytes(ids)
        status, _, errors = run(capsys, source, "--remove", tmp_path / "ids.txt", "--output_dir", tmp_path / "out")
        assert status == 1 and message in errors[0]

    def test_removing_everything_needs_something_new(self, source, new, tmp_path, capsys):
        number = AutoModel.from_pretrained(source).config.num_items
        (tmp_path / "ids.txt").write_text("\n".join(map(str, range(1, number + 1))))
        status, _, errors = run(capsys, source, "--remove", tmp_path / "ids.txt", "--output_dir", tmp_path / "out")
        assert status == 1 and f"0 of {number} items would be left" in errors[0]
        words = (source, "--remove", tmp_path / "ids.txt", "--items", new, "--output_dir", tmp_path / "new")
        status, printed, errors = run(capsys, *words)
        assert (status, errors) == (0, []) and "2 can be recommended" in printed

    def test_nothing_to_change_a_file_that_is_not_there_and_the_source_as_output(self, source, new, tmp_path, capsys):
        for words, message in (
            ([source, "--output_dir", tmp_path / "out"], "nothing to change"),
            ([source, "--items", tmp_path / "no.csv", "--output_dir", tmp_path / "out"], "does not exist"),
            ([source, "--remove", tmp_path / "no.txt", "--output_dir", tmp_path / "out"], "does not exist"),
            ([source, "--items", new, "--output_dir", source, "--overwrite"], "which this command needs"),
        ):
            status, _, errors = run(capsys, *words)
            assert status == 1 and message in errors[0]

    def test_a_model_without_texts_and_one_without_a_quantizer(self, source, new, tmp_path, capsys):
        sasrec = train_tiny("sasrec", tmp_path / "sasrec")
        status, _, errors = run(capsys, sasrec, "--items", new, "--output_dir", tmp_path / "out")
        assert status == 1 and "knows items by their training alone" in errors[0]
        bare = tmp_path / "bare"
        shutil.copytree(source, bare)
        for name in ("catalog.json", "catalog_quantizer.safetensors"):
            (bare / name).unlink()
        write_manifest(bare)
        status, _, errors = run(capsys, bare, "--items", new, "--output_dir", tmp_path / "out")
        assert status == 1 and "no quantizer of its semantic IDs" in errors[0]
        status, _, errors = run(
            capsys, bare, "--items", new, "--output_dir", tmp_path / "out", "--semantic_ids", tmp_path
        )
        assert status == 1 and "has no quantizer" in errors[0]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"kind": "magic"}, "its kind is 'magic'"),
            ({"own_codes": 2.0}, "its own_codes are 2.0"),
            ({"own_codes": True}, "its own_codes are True"),
            ({"item_fields": 5}, "its item_fields are no names"),
            ({"history_fields": [7]}, "its history_fields are no names"),
            ({"embedding_model": ""}, "it names no embedding_model"),
            ({"kind": "rqvae", "settings": {"hidden_sizes": [10**9]}}, "other shapes than its settings say"),
            ({"kind": "rqvae", "settings": {"codebook_size": 10**9}}, "other shapes than its settings say"),
            ({"kind": "rqvae", "settings": {"num_codebooks": 10**6}}, "other shapes than its settings say"),
            ({"kind": "rqvae", "settings": {"hidden_sizes": "a"}}, "describes no quantizer"),
        ],
    )
    def test_a_recipe_of_a_stranger(self, change, message, source, new, tmp_path, capsys):
        folder = tmp_path / "copy"
        shutil.copytree(source, folder)
        path = folder / "catalog.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        write_manifest(folder)
        status, _, errors = run(capsys, folder, "--items", new, "--output_dir", tmp_path / "out")
        assert status == 1 and message in errors[0] and "describes no quantizer" in errors[0]

    def test_a_quantizer_that_is_not_finite(self, source, new, tmp_path, capsys):
        folder = tmp_path / "copy"
        shutil.copytree(source, folder)
        books = load_file(folder / "catalog_quantizer.safetensors")
        save_file({"codebooks": books["codebooks"] * float("nan")}, folder / "catalog_quantizer.safetensors")
        write_manifest(folder)
        status, _, errors = run(capsys, folder, "--items", new, "--output_dir", tmp_path / "out")
        assert status == 1 and "not finite" in errors[0]


class TestList:
    def test_what_was_changed_without_the_command_is_listed_too(self, source, new, tmp_path, capsys):
        model, processor = AutoModel.from_pretrained(source), AutoProcessor.from_pretrained(source)
        (first,) = model.add_items([{"title": "purple tea"}], processor)
        model.remove_items([2, 3], processor)
        model.save_pretrained(tmp_path / "own")
        processor.save_pretrained(tmp_path / "own")
        assert run(capsys, tmp_path / "own", "--items", new, "--output_dir", tmp_path / "out")[0] == 0
        unlisted, listed = read_changes(tmp_path / "out")
        assert (unlisted["added"], unlisted["removed"], unlisted["date"]) == (str(first), "2-3", "")
        assert (listed["added"], listed["parent"]) == (f"{first + 1}-{first + 2}", unlisted["id"])
        assert f"| `{unlisted['id']}` | the training | unknown |" in (tmp_path / "out" / "README.md").read_text()

    def test_a_list_that_was_tampered_with_is_refused(self, tmp_path):
        changes = append_change([], [7, 8], [2], 8, "d")
        changes = append_change(changes, [], [3], 8, "e")
        write_changes(changes, tmp_path)
        assert read_changes(tmp_path) == changes
        path = tmp_path / "catalog_changes.jsonl"
        lines = path.read_text().splitlines()
        for broken in (
            lines[1:],
            [lines[0], lines[0]],
            [lines[0][:-5]],
            [lines[0].replace('"7-8"', '"<b>"')],
            [lines[0].replace('"7-8"', '"7-9"')],
            [lines[0].replace("20", "x", 1)],
            ["[]"],
            [json.dumps({**json.loads(lines[0]), "more": 1})],
        ):
            path.write_text("\n".join(broken) + "\n")
            with pytest.raises(ValueError, match="of .*catalog_changes.jsonl is damaged"):
                read_changes(tmp_path)

    @pytest.mark.parametrize(("part", "value"), [("date", "<b>"), ("date", "2026-1-1"), ("added", "<b>")])
    def test_a_change_that_is_none_is_refused_though_its_digest_is_right(self, part, value, tmp_path, monkeypatch):
        monkeypatch.setattr(catalog_changes, "as_ranges", lambda items: value if part == "added" else "")
        write_changes(append_change([], [], [], 8, "d", date=value if part == "date" else ""), tmp_path)
        with pytest.raises(ValueError, match="line 1 of .* is damaged .its (date is none|items are no ids)"):
            read_changes(tmp_path)

    def test_ids_are_written_as_ranges(self):
        assert as_ranges([]) == "" and as_ranges([4, 2, 3, 9, 11, 10]) == "2-4, 9-11"
