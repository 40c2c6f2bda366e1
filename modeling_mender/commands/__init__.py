"""Commands for models; only this folder of the package imports dataset_builders."""

import dataset_builders.commands  # noqa: F401  sets environment variables that torch reads on import
