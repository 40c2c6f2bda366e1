"""The command `mender obedience` in a checkout."""

from modeling_mender.commands.obedience import main

if __name__ == "__main__":
    raise SystemExit(main())
