"""The command `mender leaderboard` in a checkout."""

from dataset_builders.commands.leaderboard import main

if __name__ == "__main__":
    raise SystemExit(main())
