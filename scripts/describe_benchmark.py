"""The command `mender describe` in a checkout."""

from dataset_builders.commands.describe import main

if __name__ == "__main__":
    raise SystemExit(main())
