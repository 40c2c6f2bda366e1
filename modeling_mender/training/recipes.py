"""Recipes: YAML files of training arguments, one per method, with a file per domain where something differs.

`METHOD.yaml` holds for every domain, and `METHOD/DOMAIN.yaml`, if there is one, is read on top of it. A line
`base: NAME` reads the recipe NAME of the same folder, for the same domain, before the rest of the file. What no file
says is filled in by [`default_paths`] and the defaults of `arguments.py`.
"""

import argparse
import dataclasses
import math
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from transformers.hf_argparser import HfArgumentParser

from .arguments import (
    ARGUMENTS,
    ARGUMENTS_FILE,
    DEFAULT_METHOD,
    TrainingArguments,
    every_option,
    make_arguments,
)

DEFAULT_RECIPE, DEFAULT_DOMAIN = "mender_steer", "sample"
PUBLISHED_BENCHMARK = "org/pref-discerning"  # stands for wherever a release is; or --benchmark, a folder
PUBLISHED_DOMAINS = ("beauty", "sports", "toys", "steam")
DOMAINS = (*PUBLISHED_DOMAINS, "music", "gift_cards", "sample")
REQUIRED = ("benchmark", "domain", "output_dir")
_NAMES = {str: "text", bool: "true or false", int: "a whole number", float: "a number", list[str]: "a list of texts"}


def default_paths(domain: str, recipe: str) -> dict[str, str]:
    """Where a run on a domain reads and writes, unless a recipe or the command line says otherwise.

    Args:
        domain (`str`): Of the benchmark.
        recipe (`str`): Name of the recipe.

    >>> default_paths("music", "tiger")["output_dir"], default_paths("sample", "tiger")["semantic_ids"]
    ('outputs/music/tiger', 'outputs/quickstart/semantic_ids')
    """
    folder = "outputs/quickstart" if domain == "sample" else f"outputs/{domain}"
    return {
        "benchmark": PUBLISHED_BENCHMARK if domain in PUBLISHED_DOMAINS else f"{folder}/benchmark",
        "semantic_ids": f"{folder}/semantic_ids",
        "output_dir": f"outputs/{domain}/{recipe}",
    }


class Recipe(NamedTuple):
    """What the files of a recipe say for a domain.

    Attributes:
        name (`str`): Of the recipe, such as `mender_tok`.
        values (`dict`): Argument name to value.
        files (`list[Path]`): In the order in which they were read; later ones win.
    """

    name: str
    values: dict[str, Any]
    files: list[Path]


def load_recipe(
    recipe: str | Path, domain: str | None = None, folder: Path | None = None, **overrides: Any
) -> TrainingArguments:
    """Reads a recipe, or the `training_arguments.yaml` of a model, as training arguments.

    Args:
        recipe (`str` or `Path`): A YAML file, or a name in `folder` such as `mender_tok`.
        domain (`str`, *optional*): Of the benchmark; needed where the recipe names none.
        folder (`Path`, *optional*): Of the recipes that have names.
        overrides: Arguments that replace the recipe's.

    Raises:
        FileNotFoundError: If there is no such recipe.
        ValueError: If the recipe or a value is invalid, or the domain has no default paths and none are given.
    """
    given = overrides if domain is None else {"domain": domain, **overrides}
    return make_arguments(**_filled(read_recipe(find_recipe(recipe, folder), domain), given))


def parse_arguments(argv: list[str] | None = None, folder: Path | None = None) -> TrainingArguments:
    """The command line as arguments: a recipe first, then overrides by name.

    Args:
        argv (`list[str]`, *optional*): Words of the command line; the process's own where not given.
        folder (`Path`, *optional*): Of the recipes that have names. With it, a command line without a recipe takes
            that of `--method`, or Mender_Steer's on the sample.

    Raises:
        FileNotFoundError: If there is no such recipe.
        ValueError: If the recipe or a value is invalid.
        SystemExit: If the command line is invalid, or asks for `--help`.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    recipe = argv.pop(0) if argv and not argv[0].startswith("-") else None
    given = _parse_options(argv, recipe, folder)
    if recipe is None and folder is not None:
        recipe = given.get("method", DEFAULT_RECIPE)
        if "method" not in given:
            given.setdefault("domain", DEFAULT_DOMAIN)
    if recipe is None:
        read = Recipe(given.get("method", DEFAULT_METHOD), {}, [])
    else:
        read = read_recipe(find_recipe(recipe, folder), given.get("domain"))
    return make_arguments(**_filled(read, given))


def _parse_options(argv: list[str], recipe: str | None, folder: Path | None) -> dict[str, Any]:
    """The options of a command line by name, those alone that it has; `--help` after a method shows its options."""
    options = every_option()
    shown = [name for name, one in options.items() if recipe not in ARGUMENTS or recipe in one.methods]
    parser = HfArgumentParser(
        dataclasses.make_dataclass(
            "Arguments",
            [
                (
                    name,
                    one.kind,
                    dataclasses.field(
                        default=argparse.SUPPRESS if one.default is dataclasses.MISSING else one.field.default,
                        default_factory=one.field.default_factory,
                        metadata={"help": one.field.metadata["help"] + _readers(one.methods, recipe)},
                    ),
                )
                for name, one in options.items()
                if name in shown or not {"-h", "--help"} & set(argv)
            ],
            kw_only=True,
        ),
        usage="mender train [RECIPE] [--domain DOMAIN] [--argument value ...]",
        description=f"Trains a method of the paper. RECIPE: a name ({', '.join(recipe_names(folder))}), or a YAML "
        f"file. Without one: that of --method, or {DEFAULT_RECIPE} on the domain {DEFAULT_DOMAIN}.",
    )
    for action in parser._actions:
        action.required = False  # a recipe may say it
    blank = dict.fromkeys(options)
    values, unknown = parser.parse_known_args(argv, types.SimpleNamespace(**blank))
    if unknown:
        raise ValueError(f"unknown argument(s) {' '.join(unknown)}; see mender train --help for those that exist.")
    return {name: value for name, value in vars(values).items() if value is not None}


def _readers(methods: tuple[str, ...], recipe: str | None) -> str:
    """Which methods read an option, for its line of `--help`; nothing where all do, or one is asked about."""
    others = [name for name in ARGUMENTS if name not in methods]
    if not others or recipe in ARGUMENTS:
        return ""
    return f"; for {', '.join(methods)}" if len(methods) <= len(others) else f"; not for {', '.join(others)}"


def _filled(read: Recipe, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe with those given on top, and paths where neither says one."""
    values = {**read.values, **given}
    method, domain = values.setdefault("method", DEFAULT_METHOD), values.get("domain")
    if domain is None:
        raise ValueError(f"which domain? Give --domain with one of {', '.join(DOMAINS)}, or one of your own.")
    if "benchmark" not in values and domain not in DOMAINS:
        raise ValueError(
            f"domain {domain!r} has no default paths; {read.name} has them for {', '.join(DOMAINS)}. For a domain of "
            "your own give --benchmark, a folder that mender build wrote or a dataset on the Hub."
        )
    is_own = method == read.values.get("method", DEFAULT_METHOD)
    paths = default_paths(domain, read.name if is_own else method)
    if method not in every_option()["semantic_ids"].methods:
        del paths["semantic_ids"]
    return {**paths, **values}


def recipe_names(folder: Path | None) -> list[str]:
    """Names of the recipes of a folder: `METHOD`, and `METHOD/VARIANT` where that is no domain."""
    if folder is None:
        return []
    variants = [path for path in sorted(folder.glob("*/*.yaml")) if path.stem not in DOMAINS]
    return [str(path.relative_to(folder).with_suffix("")) for path in (*sorted(folder.glob("*.yaml")), *variants)]


def find_recipe(recipe: str | Path, folder: Path | None = None) -> Path:
    """The file of a recipe.

    Args:
        recipe (`str` or `Path`): A file, or a name in `folder`, such as `mender_tok`.
        folder (`Path`, *optional*): Of the recipes that have names.

    Raises:
        FileNotFoundError: If there is none; lists those that are there.
    """
    path = Path(recipe)
    named = [] if folder is None else [folder / f"{recipe}.yaml"]
    for one in (path, *named):
        if one.is_file():
            return one
    for one in (path, *named):
        method = one.parent.parent / f"{one.parent.name}.yaml"
        if method.is_file():
            raise FileNotFoundError(
                f"recipe {recipe} does not exist: nothing of {method.stem} is particular to {one.stem}; give "
                f"{method.stem} --domain {one.stem}."
            )
    known = f"known are {', '.join(recipe_names(folder))}; or give a YAML file" if folder else "give a YAML file"
    raise FileNotFoundError(f"recipe {recipe} does not exist; {known}.")


def read_recipe(path: Path, domain: str | None = None) -> Recipe:
    """Reads the files of a recipe for a domain, their bases first.

    Args:
        path (`Path`): `METHOD.yaml`, `METHOD/DOMAIN.yaml`, or any other YAML file of arguments.
        domain (`str`, *optional*): Of the benchmark; a file `METHOD/DOMAIN.yaml` names its own.

    Raises:
        FileNotFoundError: If a file or a base does not exist.
        ValueError: If a file is no mapping, sets a key twice or an unknown one, or a value is of the wrong type.
    """
    path = path.absolute()
    method = path.parent.parent / f"{path.parent.name}.yaml"
    layers: dict[Path, dict[str, Any]] = {}
    if method.is_file():
        domain = path.stem
        _read_layers(method, domain, layers)
    elif path.name == ARGUMENTS_FILE:
        layers[path] = _read_file(path)
    else:
        _read_layers(path, domain, layers)
    values = {name: value for one in layers.values() for name, value in one.items()}
    if domain is not None:
        values.setdefault("domain", domain)
    name = method.stem if method.is_file() else path.stem
    if path.name == ARGUMENTS_FILE:
        name = values.get("method", DEFAULT_METHOD)
    return Recipe(name, values, list(layers))


def _read_layers(
    path: Path, domain: str | None, layers: dict[Path, dict[str, Any]], below: tuple[Path, ...] = ()
) -> None:
    """Adds the values of a recipe to `layers`: those of its base, its own, and its own of the domain."""
    if path in below:
        raise ValueError(f"recipe {below[0]} is its own base ({' > '.join(one.stem for one in (*below, path))}).")
    values = _read_file(path)
    base = values.pop("base", None)
    if base is not None:
        under = path.with_name(f"{base}.yaml")
        if not under.is_file():
            known = ", ".join(sorted(one.stem for one in path.parent.glob("*.yaml") if one != path))
            raise FileNotFoundError(f"recipe {path} has the base {base}, which does not exist; beside it are {known}.")
        _read_layers(under, domain, layers, (*below, path))
    layers[path] = values
    special = path.with_suffix("") / f"{domain}.yaml"
    if domain is not None and special.is_file():
        _read_layers(special, None, layers)


def _read_file(path: Path) -> dict[str, Any]:
    """The values of one file, checked: a YAML mapping from argument names to values, and perhaps `base`."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 (a safe loader)
    except yaml.YAMLError as error:
        raise ValueError(f"recipe {path} is not valid YAML: {' '.join(str(error).split())}") from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"recipe {path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8."
        ) from None
    except RecursionError:
        raise ValueError(f"recipe {path} is nested too deeply; it is a flat mapping from names to values.") from None
    if not isinstance(values, dict):
        raise ValueError(
            f"recipe {path} must be a mapping from argument names to values, not {type(values).__name__}."
        )
    kinds = {"base": str, **{name: one.kind for name, one in every_option().items()}}
    unknown = sorted(str(name) for name in values if name not in kinds)
    if unknown:
        raise ValueError(f"recipe {path} has the unknown key(s) {', '.join(unknown)}; known are {', '.join(kinds)}.")
    return {name: _checked(f"recipe {path}", name, value, kinds[name]) for name, value in values.items()}


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, where YAML would take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.YAMLError(f"{', '.join(twice)} is set twice (line {node.start_mark.line + 1} and below)")
        return super().construct_mapping(node, deep)


def _checked(where: str, name: str, value: Any, kind: Any) -> Any:
    """A value of a type; numbers may be written as text, since YAML 1.1 reads 3e-4 so."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and type(None) in kinds:
        return None
    (kind,) = (one for one in kinds if one is not type(None))
    number = _number(value) if kind in (int, float) else None
    if number is not None and (kind is float or number == int(number)):
        return kind(number)
    if kind == list[str]:
        fits = isinstance(value, list) and all(isinstance(one, str) for one in value)
    else:
        fits = kind in (str, bool) and type(value) is kind
    if not fits:
        shown = "empty" if value is None else repr(value)
        way_out = ", or leave the key out" if value is None else "; quote it" if kind is str else ""
        raise ValueError(f"{where} sets {name} to {shown}; it must be {_NAMES[kind]}{way_out}.")
    return value


def _number(value: Any) -> float | int | None:
    """A finite number, also written as text; `None` for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None
