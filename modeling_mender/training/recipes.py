"""Recipes: YAML files of training arguments, read with their types, nothing guessed.

Knows names, types and YAML. What the values mean is `arguments.py`'s.
"""

import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_NAMES = {str: "text", bool: "true or false", int: "a whole number", float: "a number", list[str]: "a list of texts"}


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, where YAML would take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.YAMLError(f"{', '.join(twice)} is set twice (line {node.start_mark.line + 1} and below)")
        return super().construct_mapping(node, deep)


def read_recipe(path: str | Path, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a recipe: a YAML mapping from argument names to values, such as the `training_arguments.yaml` of a model.

    Args:
        path (`str` or `Path`): The file.
        kinds (`Mapping`): Argument name to type: `str`, `bool`, `int`, `float`, `list[str]`, or one of them `| None`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no mapping, sets a key twice or an unknown one, or a value is of the wrong type.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"recipe {path} does not exist; see scripts/recipes/ for those that do.")
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
    unknown = sorted(str(name) for name in values if name not in kinds)
    if unknown:
        raise ValueError(f"recipe {path} has the unknown key(s) {', '.join(unknown)}; known are {', '.join(kinds)}.")
    return {name: _checked(f"recipe {path}", name, value, kinds[name]) for name, value in values.items()}


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
