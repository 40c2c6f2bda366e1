"""The command `mender ablate` in a checkout."""

from modeling_mender.commands.ablate import main

if __name__ == "__main__":
    raise SystemExit(main())
