"""Items as lines of a file: what a list of records would give, and no line is parsed before it is asked for."""

import copy
import hashlib
import json
import pickle
import shutil

import pytest
import tiny_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoProcessor

from modeling_mender import PreferenceRecommendationPipeline, items_file
from modeling_mender.hub.loading import load_recommender
from modeling_mender.items_file import Items
from modeling_mender.manifest import write_manifest
from modeling_mender.pipeline_preference_recommendation import check_pair

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
RECORDS = st.fixed_dictionaries(
    {"title": TEXTS}, optional={"text": TEXTS, "removed": st.booleans(), "price": st.floats()}
)


@pytest.fixture(params=["read", "mapped"])
def opened(request, tmp_path, monkeypatch):
    """Opens lines as a file of this size would be."""

    def open_lines(lines: bytes) -> Items:
        if request.param == "mapped":
            monkeypatch.setattr(items_file, "MAPPED_BYTES", 1)
        (tmp_path / "items.jsonl").write_bytes(lines)
        return Items.read(tmp_path / "items.jsonl")

    return open_lines


def lines_of(records):
    """Content of `items.jsonl`, the obvious way."""
    named = [{**record, "title": record.get("title") or f"item {n}"} for n, record in enumerate(records, start=1)]
    return "".join(
        json.dumps({"item_id": n, **item}, ensure_ascii=False) + "\n" for n, item in enumerate(named, start=1)
    ).encode()


class TestList:
    @settings(deadline=None)
    @given(data=st.data())
    def test_changed_items_are_those_of_a_list_that_was_changed(self, tmp_path_factory, data):
        path = tmp_path_factory.mktemp("items") / "items.jsonl"
        records = data.draw(st.lists(RECORDS, min_size=1, max_size=6))
        items = Items.of(records)
        for _ in range(data.draw(st.integers(0, 3))):
            items.write(path)
            items = data.draw(st.sampled_from([items, Items.read(path), pickle.loads(pickle.dumps(items))]))
            changes = data.draw(st.dictionaries(st.integers(1, len(records)), RECORDS))
            added = data.draw(st.lists(RECORDS, max_size=3))
            changes |= dict(enumerate(added, start=len(records) + 1))
            items = items.changed(changes)
            records = [changes.get(n, record) for n, record in enumerate([*records, *added], start=1)]
        assert len(items) == len(records)
        assert items.removed == [n for n, record in enumerate(records, start=1) if record.get("removed")]
        assert items.digest == hashlib.sha256(lines_of(records)).hexdigest()
        items.write(path)
        assert path.read_bytes() == lines_of(records)
        assert repr(list(items)) == repr(list(Items.of(records)))  # where NaN is itself

    def test_it_is_indexed_cut_and_compared_as_a_list(self, opened):
        records = [{"title": f"lamp {n}", "codes": [n, 0]} for n in range(5)]
        items = opened(lines_of(records))
        assert items == records == list(items) and items == Items.of(records)
        assert items != records[:4] and items != [*records[:4], {"title": "vase"}] and items != 5
        assert (items[-1], items[1:3], items[::-2]) == (records[-1], records[1:3], records[::-2])
        for row in (5, -6):
            with pytest.raises(IndexError):
                items[row]
        items[0]["title"] = "vase"
        assert items[0]["title"] == "lamp 0"

    def test_without_a_title_an_item_has_its_number(self, opened):
        assert [item["title"] for item in opened(b'{"title": null}\n{"title": ""}\n{"title": "a"}\n')] == [
            "item 1",
            "item 2",
            "a",
        ]

    def test_more_records_than_are_kept_are_parsed_again(self, opened, monkeypatch):
        monkeypatch.setattr(items_file, "MAX_CACHED", 2)
        records = [{"title": f"lamp {n}"} for n in range(5)]
        items = opened(lines_of(records))
        assert [items[row] for row in (0, 1, 2, 0, 4, 3, 0)] == [records[row] for row in (0, 1, 2, 0, 4, 3, 0)]
        assert len(items._cache) <= 2

    def test_copies_outlive_the_file(self, opened, tmp_path):
        items = opened(lines_of([{"title": "lamp"}])).changed({2: {"title": "vase"}})
        copies = copy.deepcopy(items), pickle.loads(pickle.dumps(items))
        (tmp_path / "items.jsonl").unlink()
        assert copies[0] == copies[1] == items == [{"title": "lamp"}, {"title": "vase"}]


class TestLines:
    def test_lines_are_copied_as_they_were_written(self, opened, tmp_path):
        """By another program: fields in another order, letters as escapes, no item_id, the line ends of Windows."""
        lines = b'{"text": "b", "title":"\\u00e9"}\r\n{ "title": "lamp" }\n{"title": "vase", "x": {"removed": true}}\n'
        items = opened(lines)
        assert items == [{"text": "b", "title": "é"}, {"title": "lamp"}, {"title": "vase", "x": {"removed": True}}]
        assert items.removed == [] and items.digest == hashlib.sha256(lines).hexdigest()
        items.changed({2: items[1] | {"removed": True}}).write(tmp_path / "new.jsonl")
        first, second, third = (tmp_path / "new.jsonl").read_bytes().splitlines(keepends=True)
        assert first + third == lines.replace(b'{ "title": "lamp" }\n', b"")
        assert second == b'{"item_id": 2, "title": "lamp", "removed": true}\n'

    @pytest.mark.parametrize(
        "marked", ['"removed": true', '"\\u0072emoved": true', '"removed": false, "removed" : true']
    )
    def test_a_removed_item_is_found_however_it_is_written(self, opened, marked):
        lines = f'{{"title": "a"}}\n{{"title": "b", {marked}}}\n{{"title": "\\"removed\\": true"}}\n'
        assert opened(lines.encode()).removed == [2]

    def test_a_last_line_without_an_end_gets_one_before_others(self, opened, tmp_path):
        items = opened(b'{"title": "a"}\n{"title": "b"}')
        assert items.digest == hashlib.sha256(b'{"title": "a"}\n{"title": "b"}').hexdigest()
        more = items.changed({3: {"title": "c"}})
        assert more == [{"title": "a"}, {"title": "b"}, {"title": "c"}]
        more.write(tmp_path / "new.jsonl")
        assert Items.read(tmp_path / "new.jsonl") == more

    def test_lines_beyond_a_block_are_found(self, opened, monkeypatch):
        monkeypatch.setattr(items_file, "BLOCK_BYTES", 7)
        records = [{"title": "lamp" * n} for n in range(1, 9)]
        assert opened(lines_of(records)) == records

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b'{"title": "b"', "delimiter"),
            (b'{"title": "b"} {"title": "c"}', "Extra data"),
            (b"", "Expecting value"),
            (b"null", "not the item of this number"),
            (b'["title"]', "not the item of this number"),
            (b'{"item_id": 3, "title": "b"}', "not the item of this number"),
            (b'{"item_id": null, "title": "b"}', "not the item of this number"),
            (b'{"name": "b"}', "no title"),
            (b'{"title": 5}', "its title is no text"),
            (b'{"title": "b", "text": ["b"]}', "its text is no text"),
            (b'{"title": "\xff"}', "invalid start byte"),
            (b'{"title": "\\ud800"}', "surrogates"),
            (b'{"title": "b\tc"}', "control character"),
            (b'\xef\xbb\xbf{"title": "b"}', "BOM"),
            (b'{"title": "b", "removed": 1}', "removed is neither true nor false"),
            (b'{"title": "b", "removed": null}', "removed is neither true nor false"),
            (b'{"title": "b", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "recursion"),
        ],
    )
    def test_a_bad_line_is_refused_by_its_number_when_it_is_asked_for(self, opened, line, reason):
        items = opened(b'{"title": "a"}\n' + line + b'\n{"title": "c"}\n')
        assert (items[0], items[2]) == ({"title": "a"}, {"title": "c"})
        for ask in (lambda: items[1], lambda: list(items), lambda: items[:2], lambda: items == [{"title": "a"}] * 3):
            with pytest.raises(
                ValueError, match=rf"line 2 of .*items\.jsonl is damaged \(.*{reason}.*\); fetch or copy"
            ):
                ask()

    def test_a_pointer_of_git_lfs_says_so(self, opened):
        with pytest.raises(ValueError, match="line 1 of .*items.jsonl is a pointer of Git LFS: run git lfs pull"):
            opened(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")[0]

    def test_an_empty_file_has_no_items(self, opened):
        items = opened(b"")
        assert len(items) == 0 and items == [] and items.removed == []
        assert items.changed({1: {"title": "a"}}) == [{"title": "a"}]


@pytest.fixture(scope="module", params=["tiger", "mender_tok", "mender_steer"])
def trained(request, tmp_path_factory):
    return tiny_models.train_tiny(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def parsed(monkeypatch):
    """Numbers of the lines that were parsed."""
    numbers, parse = [], Items._parse

    def count(items, number, line):
        numbers.append(number)
        return parse(items, number, line)

    monkeypatch.setattr(Items, "_parse", count)
    return numbers


def break_line(folder, number):
    """Breaks a line of the items, in a folder whose digests were made again."""
    path = folder / "items.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace(b'"title"', b'"titel"')
    path.write_bytes(b"".join(lines))
    config = json.loads((folder / "config.json").read_text())
    config["items_digest"] = Items.read(path).digest
    (folder / "config.json").write_text(json.dumps(config))
    write_manifest(folder)


class TestFolders:
    def test_items_that_model_and_manifest_vouch_for_are_loaded_unparsed(self, trained, parsed):
        pair = load_recommender(trained)
        assert parsed == []
        PreferenceRecommendationPipeline(model=pair[0], processor=pair[1])
        assert parsed == []

    def test_a_bad_line_that_they_vouch_for_is_refused_when_it_is_asked_for(self, trained, tmp_path):
        folder = shutil.copytree(trained, tmp_path / "model")
        break_line(folder, 5)
        _, processor = load_recommender(folder)
        assert processor.titles([4])
        with pytest.raises(ValueError, match="line 5 of .*no title"):
            processor.titles([5])

    def test_items_that_no_model_vouches_for_are_all_read(self, trained, tmp_path, parsed):
        folder = shutil.copytree(trained, tmp_path / "model")
        break_line(folder, 5)
        (folder / "config.json").unlink()
        (folder / "manifest.json").unlink()
        with pytest.raises(ValueError, match="line 5 of .*no title"):
            AutoProcessor.from_pretrained(folder)
        assert parsed[:5] == [1, 2, 3, 4, 5]

    def test_the_codes_of_another_processor_are_compared_item_by_item(self, tmp_path):
        model, processor = load_recommender(tiny_models.train_tiny("tiger", tmp_path))
        fifth, sixth = processor.items[4:6]
        processor.items = processor.items.changed({5: fifth | {"codes": sixth["codes"]}})
        with pytest.raises(ValueError, match="item 5 has the semantic ID"):
            check_pair(model, processor)

    def test_codes_that_were_set_anew_are_vouched_for_no_longer(self, tmp_path):
        folder = tiny_models.train_tiny("tiger", tmp_path / "model")
        model, processor = load_recommender(folder)
        ids = model.item_semantic_ids.flip(0)
        model.set_item_semantic_ids(tiny_models.SemanticIds(ids, model.config.codebook_size))
        with pytest.raises(ValueError, match="item 1 has the semantic ID"):
            check_pair(model, processor)
        model.save_pretrained(folder)
        write_manifest(folder)
        with pytest.raises(ValueError, match="item 1 has the semantic ID"):
            load_recommender(folder)

    @pytest.mark.parametrize("name", ["tiger", "mender_tok", "mender_emb"])
    def test_a_change_copies_the_lines_of_the_others(self, tmp_path, parsed, name):
        folder = tiny_models.train_tiny(name, tmp_path / "first")
        model, processor = load_recommender(folder)
        learned = torch.zeros(1, model.config.num_levels - 1, dtype=torch.long)
        given = {"embeddings": torch.ones(1, model.config.embedding_size)} if name == "mender_emb" else {}
        model.add_items([{"title": "blue lime"}], processor, codes=learned, **given)
        model.remove_items([2], processor)
        processor.save_pretrained(tmp_path / "second")
        assert {*parsed} == {2}
        before, after = ((one / "items.jsonl").read_bytes().splitlines() for one in (folder, tmp_path / "second"))
        assert after[0:1] + after[2:-1] == before[0:1] + before[2:]
        assert json.loads(after[1]) == json.loads(before[1]) | {"removed": True}
        assert json.loads(after[-1])["title"] == "blue lime"
