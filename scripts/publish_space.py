"""The command `mender publish-space` in a checkout."""

from dataset_builders.commands.publish_space import main

if __name__ == "__main__":
    raise SystemExit(main())
