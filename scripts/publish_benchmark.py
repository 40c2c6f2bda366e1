"""The command `mender publish-benchmark` in a checkout."""

from dataset_builders.commands.publish_benchmark import main

if __name__ == "__main__":
    raise SystemExit(main())
