"""Commands of the models; the one room of this package that imports the benchmark."""

import dataset_builders.commands  # noqa: F401  sets the variables that torch reads when it is loaded
