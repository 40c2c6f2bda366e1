"""The command `mender compare` in a checkout."""

from dataset_builders.commands.compare import main

if __name__ == "__main__":
    raise SystemExit(main())
