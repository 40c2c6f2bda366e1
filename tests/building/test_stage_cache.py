"""Results kept by content: found again, never half-written, and made again if what they depend on has changed."""

import json
import shutil

import numpy as np
import pytest
from benchmark_world import ToySource, hash_embed, item
from hypothesis import given
from hypothesis import strategies as st

from dataset_builders.building import stage_cache
from dataset_builders.building.options import BuildOptions
from dataset_builders.building.stage_cache import StageCache, digest_of
from dataset_builders.building.stages import BenchmarkBuild

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def maker(text="result"):
    calls = []

    def make(folder):
        calls.append(folder)
        (folder / "file.txt").write_text(text)
        return {"count": len(text)}

    return make, calls


def test_a_result_is_made_once_and_then_found(tmp_path):
    make, calls = maker()
    first = StageCache(tmp_path).get("stage", {"a": 1}, make, ())
    again = StageCache(tmp_path).get("stage", {"a": 1}, make, ())
    assert first == again and len(calls) == 1
    assert (again.folder / "file.txt").read_text() == "result" and again.info == {"count": 6}


@pytest.mark.parametrize("name", ["file.txt", "stage.json"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-2]),
        lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: (path.parent / "another").write_text("stray"),
        lambda path: path.rename(path.parent / "renamed"),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_damaged_result_is_made_again_with_a_warning(tmp_path, caplog, name, damage):
    make, calls = maker()
    first = StageCache(tmp_path).get("stage", {"a": 1}, make, ())
    damage(first.folder / name)
    assert StageCache(tmp_path).get("stage", {"a": 1}, make, ()) == first
    assert len(calls) == 2 and "is damaged and made again" in caplog.text
    assert sorted(path.name for path in first.folder.iterdir()) == ["file.txt", "stage.json"]
    assert (first.folder / "file.txt").read_text() == "result"


def test_counts_are_those_that_were_made(tmp_path):
    def make(folder):
        return {"shares": {3: 0.1, 2: None}, "pair": (1, 2)}

    first = StageCache(tmp_path).get("stage", {}, make, ())
    assert first == StageCache(tmp_path).get("stage", {}, lambda folder: pytest.fail("made again"), ())
    assert first.info == {"shares": {"3": 0.1, "2": None}, "pair": [1, 2]}


def test_other_parameters_another_stage_or_other_code_make_another_result(tmp_path, monkeypatch):
    make, calls = maker()
    cache = StageCache(tmp_path)
    cache.get("stage", {"a": 1}, make, ())
    cache.get("stage", {"a": 2}, make, ())
    cache.get("other", {"a": 1}, make, ())
    monkeypatch.setattr(stage_cache, "code_digest", lambda *modules: "changed")
    cache.get("stage", {"a": 1}, make, ())
    assert len(calls) == 4


STAGE_CODE = {
    "interactions": (
        "dataset_builders.building.interactions",
        "dataset_builders.building.engines",
        "dataset_builders.building.sources.tables",
    ),
    "polarity": ("dataset_builders.building.review_sentiment",),
    "preferences": ("dataset_builders.building.preferences.table", "dataset_builders.building.preferences.metadata"),
    "steering": ("dataset_builders.building.steering.assignment",),
    "configs": ("dataset_builders.building.axes.fine", "dataset_builders.building.publication"),
}


def stage_digests(**package):
    """The digest of every stage's code, read again."""
    stage_cache.code_digest.cache_clear()
    return {stage: stage_cache.code_digest(*code, **package) for stage, code in STAGE_CODE.items()}


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the package, and the digests of its stages."""
    package = tmp_path_factory.mktemp("copied") / "dataset_builders"
    shutil.copytree(stage_cache.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    return package, stage_digests(package=package)


def test_a_copy_of_the_code_has_its_digests(copied):
    assert copied[1] == stage_digests()


@pytest.mark.parametrize(
    ("changed", "stages"),
    [
        ("leaderboard/page.py", set()),
        ("paper_tables/figures.py", set()),
        ("scoring/runs.py", set()),
        ("obedience/measuring.py", set()),
        ("building/sources/yelp.py", set()),
        ("building/sources/tables.py", {"interactions"}),
        ("building/interactions.py", {"interactions"}),
        ("building/preferences/metadata.py", {"preferences"}),
        ("building/steering/nearest.py", {"steering", "configs"}),  # the configs read what steering has written
        ("building/axes/fine.py", {"configs"}),
        ("benchmark/negation.py", {"polarity", "preferences", "configs"}),
    ],
)
def test_a_changed_line_counts_for_the_stages_that_it_can_change(copied, changed, stages):
    package, before = copied
    code = (package / changed).read_bytes()
    (package / changed).write_bytes(code + b"# a comment\n")
    after = stage_digests(package=package)
    (package / changed).write_bytes(code)
    assert {stage for stage in STAGE_CODE if before[stage] != after[stage]} == stages


def test_a_build_names_the_code_of_every_stage(tmp_path, monkeypatch):
    asked = {}
    get = StageCache.get

    def note(self, stage, depends_on, make, code):
        asked.setdefault(stage, set()).update(stage_cache.reached_sources(code))
        return get(self, stage, depends_on, make, code)

    monkeypatch.setattr(StageCache, "get", note)
    nouns = "lamp mug vase tray cushion candle soap blanket notebook".split()
    shop = [item(number, noun.title(), "", ["Shop", noun]) for number, noun in enumerate(nouns, 1)]
    users = [np.random.default_rng(user).permutation(9)[:7] + 1 for user in range(12)]
    source = ToySource([user.tolist() for user in users], shop)
    options = BuildOptions(min_count=1)
    BenchmarkBuild(source, "toy", hash_embed, StageCache(tmp_path), options=options, progress=False).run()
    own = {
        "interactions": {
            "benchmark_world",
            "dataset_builders.building.interactions",
            "dataset_builders.building.engines",
        },
        "polarity": {"dataset_builders.building.review_sentiment", "dataset_builders.building.sequences"},
        "preferences": {
            "dataset_builders.building.preferences.metadata",
            "dataset_builders.building.preferences.table",
        },
        "steering": {
            "dataset_builders.building.steering.assignment",
            "dataset_builders.building.steering.nearest",
            "dataset_builders.building.preferences.table",
        },
        "configs": {
            "dataset_builders.building.axes.fine",
            "dataset_builders.building.axes.base",
            "dataset_builders.benchmark.schema",
        },
    }
    assert own.keys() == asked.keys()
    for stage, modules in own.items():
        assert modules <= asked[stage], stage
        assert not any(
            name.startswith(("dataset_builders.leaderboard", "dataset_builders.paper_tables")) for name in asked[stage]
        )


def test_a_file_counts_by_its_content_and_not_by_its_name_or_time(tmp_path):
    make, calls = maker()
    cache = StageCache(tmp_path / "cache")
    for name, text in (("a", "same"), ("b", "same"), ("c", "other")):
        (tmp_path / name).write_text(text)
        cache.get("stage", {"input": tmp_path / name}, make, ())
    assert len(calls) == 2


def test_the_digest_is_that_of_the_files_so_that_equal_results_lead_on_alike(tmp_path):
    cache = StageCache(tmp_path)
    one, two = (cache.get("stage", {"a": number}, maker()[0], ()) for number in (1, 2))
    other = cache.get("stage", {"a": 3}, maker("else")[0], ())
    assert one.digest == two.digest != other.digest


def test_an_interrupted_stage_leaves_nothing_and_is_made_again(tmp_path):
    def dies(folder):
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        StageCache(tmp_path).get("stage", {}, dies, ())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    make, calls = maker()
    assert StageCache(tmp_path).get("stage", {}, make, ()).info == {"count": 6} and len(calls) == 1


def test_of_two_builds_at_once_the_second_takes_what_the_first_has_made(tmp_path):
    make, _ = maker()

    def slower(folder):
        StageCache(tmp_path).get("stage", {}, make, ())
        return maker()[0](folder)

    result = StageCache(tmp_path).get("stage", {}, slower, ())
    assert json.loads((result.folder / "stage.json").read_text())["info"] == {"count": 6}
    assert [path.name for path in (tmp_path / "stage").iterdir()] == [result.folder.name]


@given(values, values)
def test_different_values_have_different_digests(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest_of(one) == digest_of(other)) == same


def test_arrays_count_by_values_shape_and_type():
    array = np.arange(6, dtype=np.float32)
    assert digest_of(array) == digest_of(array.copy())
    assert len({digest_of(a) for a in (array, array.reshape(2, 3), array.astype(np.float64), array + 1)}) == 4
    assert digest_of(array.reshape(2, 3).T) == digest_of(np.ascontiguousarray(array.reshape(2, 3).T))


def test_what_cannot_be_part_of_a_key_is_named(tmp_path):
    with pytest.raises(TypeError, match="set"):
        digest_of({"a": {1, 2}})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        digest_of(tmp_path / "nowhere")
