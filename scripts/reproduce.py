"""The command `mender reproduce` in a checkout."""

from modeling_mender.commands.reproduce import main

if __name__ == "__main__":
    raise SystemExit(main())
