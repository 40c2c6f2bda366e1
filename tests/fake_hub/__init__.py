"""A Hub on loopback: repositories, commits, pull requests, refusals; for tests that publish and load."""

from .repositories import check_card
from .server import FakeHub

__all__ = ["FakeHub", "check_card"]
