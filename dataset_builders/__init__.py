"""The preference-discerning benchmark: build, check, score and publish it without torch.

Text embeddings are passed in as a callable; import from the modules (`dataset_builders.building.build`, ...).
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mender-recommender")
except PackageNotFoundError:  # a checkout without installation
    __version__ = "0+checkout"
