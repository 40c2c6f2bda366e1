"""Commands of the models; the one room of this package that imports the benchmark."""
