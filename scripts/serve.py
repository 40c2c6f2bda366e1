"""The command `mender serve` in a checkout."""

from modeling_mender.commands.serve import main

if __name__ == "__main__":
    raise SystemExit(main())
