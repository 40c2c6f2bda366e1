"""The preference-discerning benchmark: from raw interactions to the published configs, their checks and their metric.

This package imports neither torch nor transformers, and nothing of `modeling_mender`: text embeddings reach it as a
callable. Importing it stays light; import what you need from its modules (`dataset_builders.building.build`, ...).
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mender-recommender")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+checkout"
