"""The command `mender submit` in a checkout."""

from dataset_builders.commands.submit import main

if __name__ == "__main__":
    raise SystemExit(main())
