"""Windows, histories and splits as arrays, against the plain definition."""

import numpy as np
import pytest
from benchmark_world import sequences
from hypothesis import given, settings
from hypothesis import strategies as st


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=30), min_size=1, max_size=5), st.integers(2, 20))
@settings(max_examples=100, deadline=None)
def test_histories_and_splits_equal_the_plain_definition(users, window):
    table = sequences(users, window=window)
    row = 0
    for items in users:
        length = len(items)
        first = max(1, length - window + 1)
        for position in range(1, length + 1):
            in_window = position >= first
            assert table.in_window[row] == in_window
            assert table.history(row).tolist() == (items[first - 1 : position - 1] if in_window else [])
            assert table.split[row] == {length: 2, length - 1: 1}.get(position, 0)
            is_target = in_window and position > first
            assert any(row in table.target_rows(split) for split in range(3)) == is_target
            row += 1
    rows = np.arange(len(table))
    assert table.histories(rows).to_pylist() == [table.history(row).tolist() for row in rows]


def test_a_history_has_at_most_nineteen_items():
    table = sequences([list(range(1, 41))])
    assert len(table.history(39)) == 19
    assert table.history(39).tolist() == list(range(21, 40))


def test_a_window_without_room_for_a_history_is_refused():
    with pytest.raises(ValueError, match=r"window \(1\)"):
        sequences([[1, 2]], window=1)


def test_a_polarity_found_before_is_taken_as_it_is_and_others_are_shared():
    table = sequences([[1, 2], [3]], [[1.0, 5.0], [1.0]])
    assert table.polarity.tolist() == [-1, 1, -1]
    other = table.with_polarity(np.array([0, -1, 1]))
    assert other.polarity.tolist() == [0, -1, 1] and other.polarity.dtype == np.int8
    assert table.polarity.tolist() == [-1, 1, -1] and other.ratings is table.ratings
    assert [event.polarity for event in other.past_items([{}, {}, {}])[0]] == [None, -1]


@pytest.mark.parametrize("polarity", [np.array([1, 1]), np.array([1, 2, 1]), np.ones((3, 1))])
def test_a_polarity_of_other_sequences_is_refused(polarity):
    with pytest.raises(ValueError, match="for each of 3 actions"):
        sequences([[1, 2], [3]]).with_polarity(polarity)
