"""The command measure_polarity on a shop of ten reviews, from its files to its table."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_models import tiny_random_roberta

from dataset_builders.commands import measure_polarity

REVIEWS = [
    (1.0, "I hate it. Awful."),
    (1.0, "Horrible, the worst soap."),
    (2.0, "It broke, what a disappointment."),
    (2.0, "I hate it. Awful."),
    (3.0, "Terrible food."),
    (3.0, "A good soap."),
    (4.0, "Nice and clean."),
    (5.0, "I love it. Wonderful!"),
    (5.0, "The best gift, great."),
    (None, "Perfect."),
]


def write_shop(folder, reviews=REVIEWS):
    """Actions and items as tables."""
    columns = {
        "user_id": [f"u{n % 3}" for n in range(len(reviews))],
        "item_id": ["i1"] * len(reviews),
        "timestamp": range(len(reviews)),
        "rating": pa.array([rating for rating, _ in reviews], pa.float64()),
        "review": pa.array([review for _, review in reviews], pa.string()),
    }
    pq.write_table(pa.table(columns), folder / "interactions.parquet")
    pq.write_table(pa.table({"item_id": ["i1"], "title": ["soap"]}), folder / "items.parquet")
    paths = {name: str(folder / f"{name}.parquet") for name in ("interactions", "items")}
    return [
        "--source",
        "tables",
        "--domain",
        "shop",
        "--interactions",
        paths["interactions"],
        "--items",
        paths["items"],
    ]


def test_the_table_counts_stars_and_distinct_texts(tmp_path, capsys):
    model = tiny_random_roberta(tmp_path / "tiny-random-roberta")
    output = tmp_path / "table.md"
    assert measure_polarity.main([*write_shop(tmp_path), "--model", str(model), "--output", str(output)]) == 0
    text = capsys.readouterr().out
    assert output.read_text(encoding="utf-8") == text
    lines = text.splitlines()
    assert lines[0].startswith("shop: 10 reviews (2 with 1 star, 2 with 2 stars, 2 with 3 stars, 1 with 4 stars")
    assert "1 with no rating" in lines[0] and "10 have a text" in lines[0]
    assert "3 disliked, 3 liked" in lines[2] and "2 three-star texts" in lines[2]
    names = [line.split(" | ")[0] for line in lines[4:]]
    assert names[0].startswith("| VADER, whole text") and names[-1] == "| tiny-random-roberta"
    assert "| mean over sentences, default 0.2 | 1.000 | 100.0% | 100.0% | 100.0% | 50.0% |" in lines


@pytest.mark.parametrize(
    ("reviews", "message"),
    [(REVIEWS[4:], "0 texts with at most two stars"), (REVIEWS[:6], "0 with at least four")],
)
def test_reviews_of_one_kind_measure_nothing(tmp_path, capsys, reviews, message):
    assert measure_polarity.main(write_shop(tmp_path, reviews)) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: shop has") and message in error and error.count("\n") == 1


def test_a_model_that_cannot_be_had_is_one_line(tmp_path, capsys):
    assert measure_polarity.main([*write_shop(tmp_path), "--model", "nobody/nothing"]) == 1
    assert "rating_vader" in capsys.readouterr().err
