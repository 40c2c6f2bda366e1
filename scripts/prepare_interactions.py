"""The command `mender prepare-interactions` in a checkout."""

from dataset_builders.commands.prepare_interactions import main

if __name__ == "__main__":
    raise SystemExit(main())
