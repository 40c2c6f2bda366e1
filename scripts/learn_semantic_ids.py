"""The command `mender learn-ids` in a checkout."""

from modeling_mender.commands.learn_ids import main

if __name__ == "__main__":
    raise SystemExit(main())
