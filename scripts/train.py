"""The command `mender train` in a checkout."""

from modeling_mender.commands.train import main

if __name__ == "__main__":
    raise SystemExit(main())
