"""The command `mender recommend` in a checkout."""

from modeling_mender.commands.recommend import main

if __name__ == "__main__":
    raise SystemExit(main())
