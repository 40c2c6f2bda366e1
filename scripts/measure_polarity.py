"""The command `mender measure-polarity` in a checkout."""

from dataset_builders.commands.measure_polarity import main

if __name__ == "__main__":
    raise SystemExit(main())
