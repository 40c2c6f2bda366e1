"""The command `mender publish-model` in a checkout."""

from modeling_mender.commands.publish_model import main

if __name__ == "__main__":
    raise SystemExit(main())
