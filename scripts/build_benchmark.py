"""The command `mender build` in a checkout."""

from dataset_builders.commands.build import main

if __name__ == "__main__":
    raise SystemExit(main())
