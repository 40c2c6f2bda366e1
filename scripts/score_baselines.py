"""The command `mender baselines` in a checkout."""

from dataset_builders.commands.baselines import main

if __name__ == "__main__":
    raise SystemExit(main())
