"""The command `mender approximate` in a checkout."""

from dataset_builders.commands.approximate import main

if __name__ == "__main__":
    raise SystemExit(main())
