"""The command `mender evaluate` in a checkout."""

from modeling_mender.commands.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main())
