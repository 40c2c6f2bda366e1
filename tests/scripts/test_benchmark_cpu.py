"""benchmark_cpu: what a faster way costs is counted row by row, and every way is asked the same."""

import pytest
from benchmark_cpu import TURN, measure, paired_recall, share_changed


class Processor:
    """Stands for one that caches what it has read."""


def test_recall_is_compared_row_by_row():
    assert paired_recall([[1, 2], [3, 4]], [[1, 2], [5, 6]], [1, 3]) == (1.0, 0.5, 0.98)
    same, difference, spread = paired_recall([[1], [2], [3]], [[1], [2], [3]], [1, 2, 4])
    assert same == pytest.approx(2 / 3)
    assert (difference, spread) == (0.0, 0.0)


def test_lists_in_another_order_changed_and_lost_nothing():
    assert share_changed([[1, 2], [3, 4]], [[2, 1], [3, 4]]) == (0.5, 0.0)
    assert share_changed([[1, 2], [3, 4]], [[1, 9], [3, 4]]) == (0.5, 0.25)


def test_every_way_is_asked_every_request_once_in_order():
    requests = [{"history": [[number]]} for number in range(TURN + 3)]
    ways = {name: lambda fields: fields["history"][0] for name in ("one", "two")}
    measured = measure(ways, requests, Processor())
    for name in ways:
        assert measured.lists[name] == [fields["history"][0] for fields in requests]
        assert len(measured.seconds[name]) == len(measured.cpu_seconds[name]) == len(requests)
