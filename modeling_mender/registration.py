"""Registration with the Auto classes of transformers when these, or the classes of this package, are first loaded."""

import importlib
import sys
from collections.abc import Iterable
from types import ModuleType

import wrapt

AUTO = "configuration feature_extraction image_processing modeling processing tokenization video_processing".split()
TRIGGERS = (
    *(f"transformers.models.auto.{name}_auto" for name in AUTO),
    "transformers.modeling_utils",
    "transformers.processing_utils",
    "transformers.pipelines",
)


def register_when_loaded(modules: Iterable[str]) -> None:
    """Registers all classes right after the first import of an Auto class or of one of the modules.

    Args:
        modules (`Iterable[str]`): Names of the modules of this package that hold the classes.
    """
    for name in (*TRIGGERS, *(f"{__package__}.{module}" for module in sorted(set(modules)))):
        wrapt.register_post_import_hook(_register, name)


def _register(finished: ModuleType) -> None:
    """Imports `auto_classes` unless a module that it needs is still loading."""
    # a partially loaded module lacks names; the outermost one is a trigger too and registers at its end
    if not any(_is_loading(name, module) for name, module in list(sys.modules.items()) if module is not finished):
        importlib.import_module(f"{__package__}.auto_classes")


def _is_loading(name: str, module: ModuleType) -> bool:
    """Whether a module that `auto_classes` needs is partially loaded."""
    is_room = name.startswith(f"{__package__}.") and (hasattr(module, "__path__") or name.count(".") > 1)
    is_needed = name.startswith((f"{__package__}.", "transformers.")) and not is_room
    return is_needed and getattr(getattr(module, "__spec__", None), "_initializing", False)
