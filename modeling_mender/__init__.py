"""Mender's models and baselines, registered with the Auto classes of transformers at import.

The import loads neither torch nor transformers; each class is imported on first use.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .registration import register_when_loaded

_MODULES = {
    "ItemIdProcessor": "processing_item_ids",
    "MenderEmb": "modeling_mender",
    "MenderEmbConfig": "configuration_mender",
    "MenderEmbProcessor": "processing_mender",
    "MenderSteer": "modeling_mender_steer",
    "MenderSteerConfig": "configuration_mender_steer",
    "MenderSteerProcessor": "processing_mender_steer",
    "MenderTok": "modeling_mender",
    "MenderTokConfig": "configuration_mender",
    "MenderTokProcessor": "processing_mender",
    "MostPopular": "modeling_baselines",
    "MostPopularConfig": "configuration_baselines",
    "PreferenceRecommendationPipeline": "pipeline_preference_recommendation",
    "RQVAEConfig": "configuration_rqvae",
    "RQVAEModel": "modeling_rqvae",
    "SASRec": "modeling_sasrec",
    "SASRecConfig": "configuration_sasrec",
    "SemanticIds": "semantic_ids",
    "Tiger": "modeling_tiger",
    "TigerConfig": "configuration_tiger",
    "TigerProcessor": "processing_tiger",
    "TransitionGraph": "modeling_baselines",
    "TransitionGraphConfig": "configuration_baselines",
}
__all__ = list(_MODULES)  # noqa: PLE0604

try:
    __version__ = version("mender-recommender")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+checkout"


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])


register_when_loaded(_MODULES.values())
