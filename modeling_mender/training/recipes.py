"""Recipes: YAML files of training arguments, one per method, and one per domain with what differs there.

`METHOD.yaml` holds for every domain; `METHOD/DOMAIN.yaml`, if it exists, overrides it. A line `base: NAME` reads the
recipe NAME of the same folder, for the same domain, before the rest of the file. The remaining arguments come from
[`default_paths`] and the defaults of `arguments.py`.
"""

import argparse
import dataclasses
import re
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml
from transformers.hf_argparser import HfArgumentParser

from ..bounded_parsing import MAX_YAML_BYTES, UnreadableFile, exact_float, parse_yaml, read_bounded, shortened
from .arguments import (
    ARGUMENTS,
    ARGUMENTS_FILE,
    DEFAULT_METHOD,
    Option,
    TrainingArguments,
    every_option,
    make_arguments,
)

DEFAULT_RECIPE, DEFAULT_DOMAIN = "mender_steer", "sample"
PUBLISHED_BENCHMARK = "org/pref-discerning"  # placeholder for the released dataset; --benchmark overrides it
PUBLISHED_DOMAINS = ("beauty", "sports", "toys", "steam")
DOMAINS = (*PUBLISHED_DOMAINS, "music", "gift_cards", "sample")
REQUIRED = ("benchmark", "domain", "output_dir")
_FLOAT_TAG = "tag:yaml.org,2002:float"
_NUMBER_TAGS = ("tag:yaml.org,2002:int", _FLOAT_TAG)
_DECIMAL = re.compile(r"[-+]?((0|[1-9][\d_]*)(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_NAMES = {str: "text", bool: "true or false", int: "a whole number", float: "a number", list[str]: "a list of texts"}


def default_paths(domain: str, recipe: str) -> dict[str, str]:
    """Returns the default paths of a run on a domain, which a recipe or the command line overrides.

    Args:
        domain (`str`): Domain of the benchmark.
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
    """Values of a recipe for a domain.

    Attributes:
        name (`str`): Name of the recipe, such as `mender_tok`.
        values (`dict`): Argument names to values.
        files (`list[Path]`): Files in the order in which they were read; later ones override earlier ones.
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
        domain (`str`, *optional*): Domain of the benchmark; required if the recipe names none.
        folder (`Path`, *optional*): Folder of the named recipes.
        overrides: Arguments that override the recipe.

    Raises:
        FileNotFoundError: If there is no such recipe.
        ValueError: If the recipe or a value is invalid, or the domain has no default paths and no benchmark is given.
    """
    given = overrides if domain is None else {"domain": domain, **overrides}
    return make_arguments(**_filled(read_recipe(find_recipe(recipe, folder), domain), given))


def parse_arguments(
    argv: list[str] | None = None,
    folder: Path | None = None,
    formatter_class: type[argparse.HelpFormatter] = argparse.ArgumentDefaultsHelpFormatter,
    parser_class: type[HfArgumentParser] = HfArgumentParser,
) -> TrainingArguments:
    """Reads training arguments from the command line: a recipe first, then overrides by name.

    Args:
        argv (`list[str]`, *optional*): Words of the command line; defaults to `sys.argv[1:]`.
        folder (`Path`, *optional*): Folder of the named recipes. If given, a command line without a recipe uses that
            of `--method`, or Mender_Steer's on the sample.
        formatter_class (`type`): Formatter of `--help`.
        parser_class (`type`): Parser of the options.

    Raises:
        FileNotFoundError: If there is no such recipe.
        ValueError: If the recipe or a value is invalid.
        SystemExit: If the command line is invalid or has `--help`.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    recipe = argv.pop(0) if argv and not argv[0].startswith("-") else None
    given = _parse_options(argv, recipe, folder, formatter_class, parser_class)
    if recipe is None and folder is not None:
        recipe = given.get("method", DEFAULT_RECIPE)
        if "method" not in given:
            given.setdefault("domain", DEFAULT_DOMAIN)
    if recipe is None:
        read = Recipe(given.get("method", DEFAULT_METHOD), {}, [])
    else:
        read = read_recipe(find_recipe(recipe, folder), given.get("domain"))
    return make_arguments(**_filled(read, given))


def _parse_options(
    argv: list[str],
    recipe: str | None,
    folder: Path | None,
    formatter_class: type[argparse.HelpFormatter],
    parser_class: type[HfArgumentParser],
) -> dict[str, Any]:
    """Returns the given options by name; `--help` after a method shows the options of that method only."""
    options = every_option()
    shown = [name for name, one in options.items() if recipe not in ARGUMENTS or recipe in one.methods]
    fields = [
        (name, one.kind, _with_help(one, one.field.metadata["help"] + _readers(one.methods, recipe)))
        for name, one in options.items()
        if name in shown or not {"-h", "--help"} & set(argv)
    ]
    parser = parser_class(
        cast(Any, dataclasses.make_dataclass("Arguments", fields, kw_only=True)),
        formatter_class=formatter_class,
        usage="mender train [RECIPE] [--domain DOMAIN] [--argument value ...]",
        description=f"Train a method of the paper. RECIPE is a name ({', '.join(recipe_names(folder))}) or a YAML "
        f"file. Default: the recipe of --method, or {DEFAULT_RECIPE} on the domain {DEFAULT_DOMAIN}. Options override "
        "the recipe.",
    )
    for action in parser._actions:
        action.required = False  # a recipe may set it
    blank = dict.fromkeys(options)
    values, unknown = parser.parse_known_args(argv, types.SimpleNamespace(**blank))
    if unknown:
        raise ValueError(f"unknown argument(s) {' '.join(unknown)}; see mender train --help for those that exist.")
    return {name: value for name, value in vars(values).items() if value is not None}


def _with_help(one: Option, text: str) -> Any:
    """Returns a field with the default of an option and another help text; a required option has no default."""
    if one.default is dataclasses.MISSING:
        return dataclasses.field(default=argparse.SUPPRESS, metadata={"help": text})
    return dataclasses.field(
        default=one.field.default, default_factory=cast(Any, one.field.default_factory), metadata={"help": text}
    )


def _readers(methods: tuple[str, ...], recipe: str | None) -> str:
    """Returns which methods read an option, for `--help`; empty if all do or the help is of one method."""
    others = [name for name in ARGUMENTS if name not in methods]
    if not others or recipe in ARGUMENTS:
        return ""
    return f"; for {', '.join(methods)}" if len(methods) <= len(others) else f"; not for {', '.join(others)}"


def _filled(read: Recipe, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a recipe, overridden by those given, with default paths for the rest."""
    values = {**read.values, **given}
    method, domain = values.setdefault("method", DEFAULT_METHOD), values.get("domain")
    if domain is None:
        raise ValueError(f"the domain is missing; give --domain with one of {', '.join(DOMAINS)}, or one of your own.")
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
    """Returns the names of the recipes of a folder: `METHOD`, and `METHOD/VARIANT` where VARIANT is no domain."""
    if folder is None:
        return []
    variants = [path for path in sorted(folder.glob("*/*.yaml")) if path.stem not in DOMAINS]
    return [str(path.relative_to(folder).with_suffix("")) for path in (*sorted(folder.glob("*.yaml")), *variants)]


def find_recipe(recipe: str | Path, folder: Path | None = None) -> Path:
    """Finds the file of a recipe.

    Args:
        recipe (`str` or `Path`): A file, or a name in `folder` such as `mender_tok`.
        folder (`Path`, *optional*): Folder of the named recipes.

    Raises:
        FileNotFoundError: If there is none; the message lists the known ones.
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
                f"recipe {recipe} does not exist: {method.stem} has no settings of its own for {one.stem}; "
                f"give {method.stem} --domain {one.stem}."
            )
    known = f"known are {', '.join(recipe_names(folder))}; or give a YAML file" if folder else "give a YAML file"
    raise FileNotFoundError(f"recipe {recipe} does not exist; {known}.")


def read_recipe(path: Path, domain: str | None = None) -> Recipe:
    """Reads the files of a recipe for a domain, their bases first.

    Args:
        path (`Path`): `METHOD.yaml`, `METHOD/DOMAIN.yaml`, or any other YAML file of arguments.
        domain (`str`, *optional*): Domain of the benchmark; a file `METHOD/DOMAIN.yaml` names its own.

    Raises:
        FileNotFoundError: If a file or a base does not exist.
        ValueError: If a file is no mapping, has a duplicate or unknown key, or a value of the wrong type.
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
    """Adds the values of a recipe to `layers`: of its base, of its file, and of its file for the domain."""
    if path in below:
        raise ValueError(f"recipe {below[0]} is its own base ({' > '.join(one.stem for one in (*below, path))}).")
    values = _read_file(path)
    if values.get("semantic_ids", "") is None:
        raise ValueError(f"recipe {path} sets semantic_ids to empty; leave the key out for those of the domain.")
    base = values.pop("base", None)
    if base is not None:
        under = path.parent / f"{base}.yaml"
        if not re.fullmatch(r"[\w.-]+", base) or not under.is_file():
            known = ", ".join(sorted(one.stem for one in path.parent.glob("*.yaml") if one != path))
            raise FileNotFoundError(f"recipe {path} has the base {base}, which does not exist; beside it are {known}.")
        _read_layers(under, domain, layers, (*below, path))
    layers[path] = values
    special = path.with_suffix("") / f"{domain}.yaml"
    if domain is not None and special.is_file():
        _read_layers(special, None, layers)


def _read_file(path: Path) -> dict[str, Any]:
    """Reads and checks one file: a YAML mapping of argument names to values, with an optional `base`."""
    text = read_bounded(path, MAX_YAML_BYTES)
    try:
        values = parse_yaml(text)
        _check_numbers(text)
    except UnreadableFile as error:
        raise ValueError(f"recipe {path}: {error}; it is a flat mapping from names to values.") from None
    if not isinstance(values, dict):
        raise ValueError(
            f"recipe {path} must be a mapping from argument names to values, not "
            f"{'empty' if values is None else type(values).__name__}."
        )
    kinds = {"base": str, **{name: one.kind for name, one in every_option().items()}}
    unknown = sorted(str(name) for name in values if name not in kinds)
    if unknown:
        raise ValueError(
            f"recipe {path} has the unknown key(s) {shortened(', '.join(unknown), 100)}; known are {', '.join(kinds)}."
        )
    return {name: _checked(f"recipe {path}", name, value, kinds[name]) for name, value in values.items()}


def _check_numbers(text: str) -> None:
    """Refuses numbers that YAML 1.1 reads otherwise than they are written: 010 as 8, 1:30 as 90, 1.0e-400 as 0."""
    node = yaml.compose(text, yaml.SafeLoader)
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if not isinstance(key, yaml.ScalarNode) or value.tag not in _NUMBER_TAGS:
            continue
        if not _DECIMAL.fullmatch(value.value):
            raise UnreadableFile(
                f"it sets {shortened(key.value, 100)} to {shortened(value.value, 100)}; write the number in decimal "
                "digits"
            )
        if value.tag == _FLOAT_TAG:
            try:
                exact_float(value.value)
            except UnreadableFile as error:
                raise UnreadableFile(f"{shortened(key.value, 100)} {error}") from None


def _checked(where: str, name: str, value: Any, kind: Any) -> Any:
    """Returns a value converted to its type; numbers may be strings, as YAML 1.1 reads 3e-4 as one."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and type(None) in kinds:
        return None
    (kind,) = (one for one in kinds if one is not type(None))
    try:
        number = _number(value) if kind in (int, float) else None
        if number is not None and kind is float:
            return exact_float(str(number))
    except UnreadableFile as error:
        raise ValueError(f"{where}: {name} {error}.") from None
    if number is not None and number == int(number):
        return int(number)
    if kind == list[str]:
        fits = isinstance(value, list) and all(isinstance(one, str) for one in value)
    else:
        fits = kind in (str, bool) and type(value) is kind
    if not fits:
        shown = "empty" if value is None else shortened(repr(value), 100)
        way_out = ", or leave the key out" if value is None else "; quote it" if kind is str else ""
        raise ValueError(f"{where} sets {name} to {shown}; it must be {_NAMES[kind]}{way_out}.")
    return value


def _number(value: Any) -> float | int | None:
    """Returns a finite number, also from a string; `None` for anything else.

    Raises:
        UnreadableFile: If a string is a number that a float would change.
    """
    if isinstance(value, str):
        try:
            value = int(value) if value.strip("+-").isdecimal() else exact_float(value)
        except UnreadableFile:
            raise
        except ValueError:
            return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and abs(value) <= sys.float_info.max else None
