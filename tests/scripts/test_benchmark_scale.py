"""benchmark_scale: every stage runs at any size, and a prediction is the line through the two largest sizes."""

import benchmark_scale
import pytest
from benchmark_scale import BY_DEFAULT, STAGES, Found, Slope, letters, measure, parse_arguments


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_runs_in_a_small_world(stage):
    arguments = parse_arguments("--num_rows 8 --batch_size 2 --num_examples 3".split())
    assert measure(stage, 60, arguments).seconds > 0


def test_a_slope_is_the_line_through_the_two_largest_sizes_without_the_fixed_costs():
    slope = Slope.of({10: Found(9.0, 9.0), 100: Found(1.5, 20.0), 300: Found(2.5, 40.0)}, power=1)
    assert slope.at(1000) == pytest.approx(Found(6.0, 110.0))
    assert slope.at(100) == pytest.approx(Found(1.5, 20.0))


def test_time_of_pairs_grows_with_the_square_and_memory_in_proportion():
    assert Slope.of({100: Found(2.0, 30.0)}, power=2).at(1000) == pytest.approx(Found(200.0, 300.0))


def test_words_are_distinct():
    assert len({letters(number) for number in range(20_000)}) == 20_000


def test_the_check_has_the_prediction_beside_what_was_measured(monkeypatch, capsys):
    monkeypatch.setattr(
        benchmark_scale, "measure_apart", lambda name, num_items, arguments: Found(num_items / 100, num_items / 10)
    )
    assert benchmark_scale.main("--num_items 100 200 --predict 400 --check 1000 --stages words".split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| words of the texts | 1 s, 10 MB | 2 s, 20 MB | 1.00 | 1e+04 µs, 104,858 B | 4 s, 40 MB |" in lines
    assert "| words of the texts | 10 s, 100 MB | 10 s, 100 MB | 1.00 | 1.00 |" in lines


def test_what_takes_minutes_is_left_out_unless_named():
    assert "all_neighbours" not in BY_DEFAULT
    assert parse_arguments(["--stages", "all_neighbours"]).stages == ["all_neighbours"]


def test_one_item_is_one_line(capsys):
    assert benchmark_scale.main(["--num_items", "1"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
