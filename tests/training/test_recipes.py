"""Recipes: the arguments that they resolve to, and the errors of those that do not exist or hold a wrong value."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml
from tiny_models import tiny_arguments, train_tiny

from dataset_builders.resources import resource
from modeling_mender.commands import sample
from modeling_mender.commands.training_run import train_on_benchmark
from modeling_mender.training.arguments import ARGUMENTS, every_option, to_yaml
from modeling_mender.training.recipes import DOMAINS, load_recipe, parse_arguments, read_recipe, recipe_names

RECIPES = resource("scripts/recipes")
RESOLVED = json.loads((Path(__file__).parent / "resolved_recipes.json").read_text(encoding="utf-8"))
# Files that the 94 of before were: a variant of the method, or of the domain's data.
VARIANTS = {"xxl": "{method}_xxl", "all_prefixes": "{method}_all_prefixes"}


def words_of(name):
    """The command line that stands for a recipe of before, METHOD/DOMAIN or METHOD/DOMAIN_VARIANT."""
    method, stem = name.split("/")
    for variant, recipe in VARIANTS.items():
        if stem.endswith(f"_{variant}"):
            return [recipe.format(method=method), "--domain", stem.removesuffix(f"_{variant}")]
    return [method, "--domain", stem] if stem in DOMAINS else [name]


@pytest.mark.parametrize("name", RESOLVED["configurations"])
def test_every_resolved_configuration_of_before_comes_out_unchanged(name):
    expected = RESOLVED["defaults"] | RESOLVED["configurations"][name]
    found = dataclasses.asdict(parse_arguments(words_of(name), RECIPES))
    assert found == {key: expected[key] for key in found}
    options = every_option()
    for key in expected.keys() - found.keys():  # what the method does not read
        assert expected[key] == options[key].default


def test_the_configurations_of_before_are_all_there():
    assert len(RESOLVED["configurations"]) == 94
    assert {name.split("/")[0] for name in RESOLVED["configurations"]} == set(ARGUMENTS)


@pytest.mark.parametrize("name", [name for name in RESOLVED["configurations"] if (RECIPES / f"{name}.yaml").is_file()])
def test_the_path_of_a_file_of_a_domain_stands_for_the_method_on_it(name):
    assert load_recipe(RECIPES / f"{name}.yaml") == parse_arguments(words_of(name), RECIPES)


def test_a_path_and_a_name_of_a_recipe_mean_the_same():
    by_path = parse_arguments([str(RECIPES / "mender_tok.yaml"), "--domain", "beauty", "--seed", "1"], RECIPES)
    assert by_path == parse_arguments(["mender_tok", "--domain", "beauty", "--seed", "1"], RECIPES)
    assert by_path == parse_arguments(["--method", "mender_tok", "--domain", "beauty", "--seed", "1"], RECIPES)
    assert by_path.seed == 1 and by_path.output_dir == "outputs/beauty/mender_tok"


def test_without_a_recipe_mender_steer_is_trained_on_the_sample():
    assert parse_arguments([], RECIPES) == parse_arguments(["mender_steer", "--domain", "sample"], RECIPES)


def test_an_empty_path_is_refused_and_not_the_default(tmp_path):
    recipe = tmp_path / "own.yaml"
    recipe.write_text("method: mender_tok\ndomain: sample\nsemantic_ids:\n")
    with pytest.raises(
        ValueError, match="own.yaml sets semantic_ids to empty; leave the key out for those of the domain"
    ):
        parse_arguments([str(recipe)], RECIPES)


@pytest.mark.parametrize(("given", "folder"), [(None, "outputs/quickstart/semantic_ids"), ("x", "x")])
def test_the_sample_is_prepared_with_the_semantic_ids_that_training_reads(given, folder, tmp_path, monkeypatch):
    class Prepared(Exception):
        pass

    def prepare(benchmark, semantic_ids):
        raise Prepared(semantic_ids)

    monkeypatch.setattr(sample, "prepare_sample", prepare)
    arguments = tiny_arguments("mender_tok", tmp_path, domain="sample", semantic_ids=given)
    with pytest.raises(Prepared, match=f"^{folder}$"):
        train_on_benchmark(arguments)


def test_every_line_of_a_recipe_changes_something():
    """Nothing is written that the defaults, the files below or the rule of the paths say already."""
    for path in sorted(RECIPES.rglob("*.yaml")):
        own = yaml.safe_load(path.read_text(encoding="utf-8"))
        base = own.pop("base", None)
        below = {name: one.default for name, one in every_option().items()}
        files = read_recipe(path, "beauty" if path.parent == RECIPES else None).files
        for one in files[: files.index(path)]:
            below |= yaml.safe_load(one.read_text(encoding="utf-8"))
        assert base is not None or own, path
        for name, value in own.items():
            assert value != below[name], f"{path} lists {name}, which is no deviation"


def test_the_recipes_of_a_method_are_named_like_it():
    for name in recipe_names(RECIPES):
        recipe = read_recipe(RECIPES / f"{name}.yaml", "beauty")
        assert recipe.name == name.split("/")[0]
        assert recipe.name.startswith(recipe.values["method"])


class TestMistakes:
    def test_an_unknown_recipe_lists_those_that_there_are(self):
        with pytest.raises(FileNotFoundError, match="recipe mender_tik does not exist; known are .*mender_tok, "):
            parse_arguments(["mender_tik", "--domain", "beauty"], RECIPES)

    @pytest.mark.parametrize("recipe", [str(RECIPES / "mender_tok/beauty.yaml"), "mender_tok/beauty"])
    def test_a_file_that_a_domain_does_not_need_names_the_way_to_say_it(self, recipe):
        with pytest.raises(FileNotFoundError, match="give mender_tok --domain beauty"):
            parse_arguments([recipe], RECIPES)

    def test_an_unknown_domain_lists_those_that_there_are(self):
        with pytest.raises(ValueError, match=r"domain 'beatuy' has no default paths.*beauty, sports.*--benchmark"):
            parse_arguments(["mender_tok", "--domain", "beatuy"], RECIPES)
        own = parse_arguments(["mender_tok", "--domain", "shop", "--benchmark", "b"], RECIPES)
        assert (own.semantic_ids, own.output_dir) == ("outputs/shop/semantic_ids", "outputs/shop/mender_tok")

    def test_a_missing_domain_is_asked_for(self):
        with pytest.raises(ValueError, match="--domain with one of beauty"):
            parse_arguments(["mender_tok"], RECIPES)

    def test_an_option_of_another_method_is_refused_with_the_methods_that_read_it(self):
        with pytest.raises(ValueError, match=r"tiger does not read lora_rank \(2\).*mender_tok"):
            parse_arguments(["tiger", "--domain", "beauty", "--lora_rank", "2"], RECIPES)

    def test_a_base_that_is_missing_or_its_own_is_named(self, tmp_path):
        (tmp_path / "a.yaml").write_text("base: b\nmethod: tiger\n")
        with pytest.raises(FileNotFoundError, match="has the base b, which does not exist"):
            load_recipe(tmp_path / "a.yaml", "beauty")
        (tmp_path / "b.yaml").write_text("base: a\n")
        with pytest.raises(ValueError, match=r"is its own base \(a > b > a\)"):
            load_recipe(tmp_path / "a.yaml", "beauty")


def test_the_help_of_a_method_shows_the_options_that_it_reads(capsys):
    for words, there in ((["--help"], True), (["tiger", "--help"], False)):
        with pytest.raises(SystemExit):
            parse_arguments(words, RECIPES)
        shown = capsys.readouterr().out
        assert ("--use_decoder" in shown) == there
        assert "--causal_history" in shown and "mender_tok_xxl" in shown


@pytest.mark.parametrize("method", ARGUMENTS)
def test_the_arguments_beside_a_model_of_any_method_are_a_recipe_of_the_same_run(tmp_path, method):
    record = train_tiny(method, tmp_path, seed=3) / "training_arguments.yaml"
    written = yaml.safe_load(record.read_text(encoding="utf-8"))
    read = parse_arguments([str(record)], RECIPES)
    assert type(read) is ARGUMENTS[method]
    assert dataclasses.asdict(read) == written
    assert (written["method"], written["seed"], written["domain"]) == (method, 3, "toy")


def test_a_record_of_an_earlier_version_lists_options_of_all_methods_and_is_read(tmp_path):
    record = tmp_path / "training_arguments.yaml"
    name = "tiger/sample"
    record.write_text(yaml.safe_dump(RESOLVED["defaults"] | RESOLVED["configurations"][name]))
    read = parse_arguments([str(record)], RECIPES)
    assert read == parse_arguments(words_of(name), RECIPES)
    record.write_text(to_yaml(read))
    assert parse_arguments([str(record)], RECIPES) == read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight_decay: 1e-400", "weight_decay '1e-400' cannot be stored exactly, the nearest number is 0.0"),
        ("weight_decay: 1.0e-400", "weight_decay '1.0e-400' cannot be stored exactly"),
        ("weight_decay: '1e-400'", "weight_decay '1e-400' cannot be stored exactly"),
        ("learning_rate: 0.12345678901234567890", "the nearest number is 0.12345678901234568; write that"),
        ("learning_rate: 1000000000000000000000000000001", "cannot be stored exactly"),
        ("seed: '4294967296'", r"seed .4294967296. must be at most 4294967295"),
        ("seed: '9007199254740993'", r"seed .9007199254740993. must be at most"),
        ("output_dir: ''", "output_dir ('') must be a text, not empty"),
    ],
)
def test_a_number_of_a_recipe_is_taken_as_it_is_written_or_refused(tmp_path, text, message):
    (tmp_path / "r.yaml").write_text(f"benchmark: b\ndomain: d\n{text}\n")
    with pytest.raises(ValueError, match=re.escape(message) if "(''" in message else message):
        parse_arguments([str(tmp_path / "r.yaml"), *(() if "output" in text else ("--output_dir", "o"))])


def test_numbers_that_floats_hold_are_taken_in_any_notation(tmp_path):
    (tmp_path / "r.yaml").write_text("benchmark: b\ndomain: d\noutput_dir: o\nseed: '7'\nweight_decay: 5.0e-324\n")
    for written, value in (
        ("3e-4", 3e-4),
        ("0.10", 0.1),
        ("'1.5'", 1.5),
        ("1", 1.0),
        ("0.30000000000000004", 0.1 + 0.2),
    ):
        (tmp_path / "s.yaml").write_text(f"base: r\nlearning_rate: {written}\n")
        read = parse_arguments([str(tmp_path / "s.yaml")])
        assert (read.learning_rate, read.seed, read.weight_decay) == (value, 7, 5e-324)
