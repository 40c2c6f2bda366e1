"""The command `mender tables` in a checkout."""

from dataset_builders.commands.tables import main

if __name__ == "__main__":
    raise SystemExit(main())
