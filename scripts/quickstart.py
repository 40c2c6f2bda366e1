"""The command `mender quickstart` in a checkout."""

from modeling_mender.commands.quickstart import main

if __name__ == "__main__":
    raise SystemExit(main())
