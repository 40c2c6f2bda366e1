"""The paper's tables and figures from our results: published figures as printed, ours beside, gaps that stay gaps."""

import csv
import json
from collections import Counter
from statistics import stdev

import pyarrow as pa
import pytest
from matplotlib.image import imread

from dataset_builders.benchmark.axes import get_axis
from dataset_builders.commands import tables as make_tables
from dataset_builders.paper_tables.figures import hits_by_length, make_figure, star_plot
from dataset_builders.paper_tables.published import PUBLISHED_FILE, read_published
from dataset_builders.paper_tables.results import axes_in_order, check_comparable, find_results, group_results
from dataset_builders.paper_tables.tables import METHOD_TITLES, MIXTURES, TABLES, improvements, make_table
from dataset_builders.scoring.ranks import RANKS_SCHEMA, write_ranks
from dataset_builders.scoring.result_parts import AxisResult, Sides

ROWS = {"recommendation": 40, "fine": 20, "coarse": 20, "sentiment": 10, "history": 40}
BENCHMARK = {"approximator": "metadata", "embedding_model": "tiny", "fingerprints": {"toy_fine": "a1" * 16}}


def metrics(level, axis):
    names = {"recall@5": 0.5, "ndcg@5": 0.25, "recall@10": 1.0, "ndcg@10": 0.5}
    if axis == "sentiment":
        names |= {"m@5": 0.25, "m@10": 0.5}
    return {name: share * level for name, share in names.items()}


def write_result(folder, method="mender_tok", levels=0.4, seed=0, domain="toy", benchmark=BENCHMARK, **more):
    """One results.json: recall@10 is the axis's level, recall@5 and ndcg@10 half of it, m@10 half of it too."""
    levels = levels if isinstance(levels, dict) else dict.fromkeys(ROWS, levels)
    arguments = {name: more.pop(name) for name in ("mixture", "inputs", "text_encoder", "lr") if name in more}
    axes = {}
    for axis, level in levels.items():
        found = None if level is None else metrics(level, axis)
        unseen = None if level is None else metrics(level / 2, axis)
        without = None if axis == "sentiment" else metrics(0.1, axis)
        axes[axis] = {
            "num_rows": ROWS[axis], "with_preference": found, "without_preference": without,
            "unseen": {"with_preference": unseen, "without_preference": without},
        }  # fmt: skip
    content = {
        "method": method, "domain": domain, "split": "test", "k": [5, 10], "num_beams": 20, "seed": seed,
        "arguments": {"seed": seed, "output_dir": str(folder), **arguments},
        "training": {"seconds": 120.0, "steps": 5}, "ranking": {"seconds": 1.0, "num_queries": 500},
        "benchmark": benchmark, "axes": axes, "left_out": {}, **more,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(content))
    return folder / "results.json"


def write_rows(folder, lengths, ranks):
    """rows.parquet of the recommendation axis."""
    columns = {
        "axis": ["recommendation"] * len(lengths), "row": range(len(lengths)), "user_id": ["u"] * len(lengths),
        "history_length": lengths, "target": [1] * len(lengths), "rank": ranks, "rank_unseen": [0] * len(ranks),
    }  # fmt: skip
    arrays = [
        pa.array(columns.get(field.name, [None] * len(lengths))).cast(field.type) for field in RANKS_SCHEMA
    ]  # fmt: skip
    write_ranks(pa.table(arrays, schema=RANKS_SCHEMA), folder / "rows.parquet", {})


def groups_of(folder):
    return group_results(find_results([folder]))


def run(*arguments):
    return make_tables.main([str(argument) for argument in arguments])


def cells(text, start, axis=None):
    """The cells of the first row that starts with a label, below an axis's heading if one is given."""
    lines = text.splitlines()
    if axis is not None:
        lines = lines[next(i for i, line in enumerate(lines) if line.startswith(f"| **{axis}")) :]
    line = next(line for line in lines if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


# -- the published figures ------------------------------------------------------------------------------------------


def test_the_published_tables_have_as_many_figures_as_the_paper_prints():
    counts = Counter(key[0] for key in read_published())
    columns = 16  # four domains, four metrics; m@5 and m@10 alone on sentiment
    assert counts == {
        1: 7 * (4 * columns + 8),  # six methods and the relative improvement
        2: 10 * 12,
        5: 8 * (4 * 8 + 4),  # eight mixtures, two domains
        6: 5 * (4 * columns + 8),  # VocabExt_LM has no row
        7: 3 * 4 * 4,
        8: 2 * (4 * 6 + 3),
        9: 2 * (4 * columns + 8),
    }
    with PUBLISHED_FILE.open() as file:
        assert sum(1 for _ in file) == 1 + sum(counts.values())  # no figure stands twice


@pytest.mark.parametrize(
    ("key", "value", "std"),
    [
        ((1, "mender_tok", "", "beauty", "recommendation", "recall@10"), 0.0937, None),
        ((1, "mender_emb", "", "steam", "sentiment", "m@10"), 0.0185, None),
        ((1, "lc_rec", "", "steam", "history", "ndcg@10"), 0.1363, None),
        ((1, "relative_improvement", "", "toys", "history", "recall@5"), 58.3, None),
        ((1, "relative_improvement", "", "sports", "coarse", "recall@10"), -38.1, None),
        ((2, "tiger", "rajput_2023", "toys", "recommendation", "ndcg@10"), 0.0432, None),
        ((2, "s3_rec", "", "sports", "recommendation", "recall@5"), 0.0251, None),
        ((5, "mender_tok", "fine_coarse", "beauty", "coarse", "recall@10"), 0.4413, None),
        ((5, "mender_tok", "all", "steam", "sentiment", "m@5"), 0.0184, None),
        ((6, "tiger", "", "toys", "recommendation", "recall@5"), 0.0008, None),  # by the order of table 1
        ((6, "mender_tok", "", "steam", "history", "ndcg@10"), 0.0025, None),
        ((7, "sasrec", "", "sports", "recommendation", "train_minutes"), 447, None),
        ((7, "mender_tok", "", "toys", "recommendation", "recall@10"), 0.0799, 0.0022),
        ((8, "mender_tok", "all_prefs", "sports", "history", "ndcg@10"), 0.0038, None),
        ((9, "mender_tok", "xxl", "steam", "sentiment", "m@10"), 0.0197, None),
    ],
)
def test_published_figures_are_those_printed(key, value, std):
    figure = read_published()[key]
    assert (figure.value, figure.std) == (value, std)


def with_baselines(path, **values):
    """Adds baselines to every axis of a results.json: their recall@10, and half of it for the other metrics."""
    content = json.loads(path.read_text())
    for axis, entry in content["axes"].items():
        entry["baselines"] = {name: metrics(value, axis) for name, value in values.items()}
    path.write_text(json.dumps(content))


def test_baselines_of_the_results_stand_under_ours(tmp_path):
    with_baselines(write_result(tmp_path / "a", levels=0.4), constant_list=0.2, history_only=0.6)
    write_result(tmp_path / "b", levels=0.5, mixture="fine")
    run(tmp_path, "--output_dir", tmp_path / "out", "--figures", "--protocol", "both")
    for name in ("table_1.md", "table_5.md"):
        every, unseen = (tmp_path / "out" / name).read_text().split("taken out")
        assert cells(every, "Constant list", "Recommendation")[2] == "0.2000"
        assert cells(every, "History only", "Recommendation")[2] == "**0.6000**"
        assert "Preference only" not in every and "without training, as the results state it" in every
        assert "Constant list" not in unseen
    with (tmp_path / "out/tables.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["method"] == "constant_list" and line["table"] == "1"]
    assert {line["seeds"] for line in lines} == {"0"} and {line["published"] for line in lines} == {""}


def test_a_baseline_that_was_scored_as_a_method_has_one_row(tmp_path):
    with_baselines(write_result(tmp_path / "a", levels=0.4), constant_list=0.2)
    write_result(tmp_path / "b", "constant_list", levels=0.2)
    run(tmp_path, "--output_dir", tmp_path / "out", "--figures", "--tables", "1")
    text = (tmp_path / "out/table_1.md").read_text()
    assert text.count("| Constant list |") == len(ROWS)


def test_results_without_baselines_give_no_row_of_them(tmp_path):
    write_result(tmp_path / "a")
    run(tmp_path, "--output_dir", tmp_path / "out", "--figures", "--tables", "1")
    assert "Constant list" not in (tmp_path / "out/table_1.md").read_text()


def test_zeros_that_stand_for_methods_not_asked_are_marked_and_no_others():
    unasked = {key[:2] + (key[4],) for key, figure in read_published().items() if not figure.was_run}
    assert unasked == {(table, "tiger", axis) for table in (1, 6) for axis in ("sentiment", "history")}
    assert all(figure.value == 0 for figure in read_published().values() if not figure.was_run)


def test_tables_agree_with_each_other_where_the_paper_repeats_a_figure():
    published = read_published()
    for domain in ("sports", "beauty", "toys"):
        for metric in ("recall@5", "ndcg@5", "recall@10", "ndcg@10"):
            key = ("tiger", "", domain, "recommendation", metric)
            assert published[1, *key] == published[2, *key]
    for key, figure in published.items():
        if key[0] == 8 and key[2] == "":
            assert figure == published[1, *key[1:]], key


def test_every_published_variant_has_a_row_that_shows_it():
    variants = {key[2] for key in read_published() if key[0] == 5}
    assert variants - {""} == set(MIXTURES) - {"none"}


# -- tables ---------------------------------------------------------------------------------------------------------


def test_the_published_figure_stands_beside_ours_in_italics(tmp_path):
    write_result(tmp_path / "in", "mender_tok", 0.4, domain="beauty")
    assert run(tmp_path / "in", "--output_dir", tmp_path / "out", "--figures") == 0
    text = (tmp_path / "out/table_1.md").read_text()
    assert cells(text, "Mender_Tok") == ["0.2000 *0.0605*", "0.1000 *0.0401*", "0.4000 *0.0937*", "0.2000 *0.0508*"]
    assert cells(text, "TIGER") == ["- *0.0431*", "- *0.0275*", "- *0.0681*", "- *0.0356*"]
    assert cells(text, "Mender_Tok", "Sentiment") == ["0.1000 *0.0043*", "-", "0.2000 *0.0053*", "-"]
    for words in (
        "rows: recommendation 40, fine-grained steering 20",
        "Seeds: Mender_Tok 1 on Beauty",
        "with the target in view",
        "ours on those of `metadata`",
    ):
        assert words in text


def test_what_was_not_run_is_a_dash_and_a_row_of_nothing_is_left_out(tmp_path):
    levels = {"recommendation": 0.3, "sentiment": None, "history": 0.2}
    write_result(tmp_path / "tiger", "tiger", levels, domain="beauty")
    write_result(tmp_path / "tok", "mender_tok", {"recommendation": 0.4}, domain="toys")
    run(tmp_path, "--output_dir", tmp_path / "out", "--figures")
    text = (tmp_path / "out/table_1.md").read_text()
    assert cells(text, "TIGER")[:4] == ["0.1500 *0.0431*", "0.0750 *0.0275*", "0.3000 *0.0681*", "0.1500 *0.0356*"]
    sentiment = text[text.index("| **Sentiment") : text.index("| **History")]
    assert "TIGER" not in sentiment  # neither ours nor the paper's was run; its printed zeros are no figures
    assert cells(text, "TIGER", "History") == ["0.1000", "0.0500", "0.2000", "0.1000", "-", "-", "-", "-"]
    with (tmp_path / "out/tables.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "mender_tok" and row["axis"] == "sentiment"]
    assert rows
    assert all(row["ours"] == "" for row in rows)


def test_seeds_are_averaged_with_their_sample_deviation(tmp_path):
    for seed, level in enumerate((0.1, 0.2, 0.6)):
        write_result(tmp_path / f"in/{seed}", "tiger", {"recommendation": level, "sentiment": None}, seed)
    run(tmp_path / "in", "--output_dir", tmp_path / "out", "--figures")
    # by hand: mean 0.9 / 3; squared distances 0.04 + 0.01 + 0.09 = 0.14, halved, root of 0.07
    assert cells((tmp_path / "out/table_1.md").read_text(), "TIGER")[2] == "0.3000 (0.2646)"
    assert cells((tmp_path / "out/table_6.md").read_text(), "TIGER")[2] == "0.2646"
    with (tmp_path / "out/tables.csv").open() as file:
        rows = {(row["table"], row["metric"]): row for row in csv.DictReader(file) if row["method"] == "tiger"}
    assert float(rows["1", "recall@10"]["ours_std"]) == pytest.approx(stdev((0.1, 0.2, 0.6)))
    assert rows["1", "recall@10"]["seeds"] == "3"


def test_an_average_over_more_than_seeds_says_so(tmp_path):
    write_result(tmp_path / "in/a", seed=0, lr=0.1)
    write_result(tmp_path / "in/b", seed=1, lr=0.2)
    run(tmp_path / "in", "--output_dir", tmp_path / "out", "--figures", "--tables", 1)
    assert "differ in lr too: 0.1, 0.2" in (tmp_path / "out/table_1.md").read_text()


def test_the_best_of_ours_is_bold_whatever_was_published(tmp_path):
    write_result(tmp_path / "in/a", "tiger", {"recommendation": 0.02}, domain="beauty")
    write_result(tmp_path / "in/b", "mender_tok", {"recommendation": 0.01}, domain="beauty")
    run(tmp_path / "in", "--output_dir", tmp_path / "out", "--figures")
    text = (tmp_path / "out/table_1.md").read_text()
    assert cells(text, "TIGER")[2] == "**0.0200** *0.0681*"
    assert cells(text, "Mender_Tok")[2] == "0.0100 *0.0937*"
    assert cells(text, "Rel. impr.")[2] == "-50.0% *+28.1%*"


def test_an_improvement_over_nothing_is_no_figure(tmp_path):
    write_result(tmp_path / "a", "tiger", {"recommendation": 0.0})
    write_result(tmp_path / "b", "mender_tok", {"recommendation": 0.1})
    (block,) = make_table(1, groups_of(tmp_path), ["all"])
    assert improvements(block.entries, "all") == []


def test_unseen_has_blocks_of_its_own_without_published_figures(tmp_path):
    write_result(tmp_path / "in", "mender_tok", 0.4, domain="beauty")
    run(tmp_path / "in", "--output_dir", tmp_path / "out", "--figures", "--protocol", "both", "--tables", 1)
    every, unseen = (tmp_path / "out/table_1.md").read_text().split("### ")[1:]
    assert cells(every, "Mender_Tok")[2] == "0.4000 *0.0937*"
    assert cells(unseen, "Mender_Tok")[2] == "0.2000"
    assert "TIGER |" not in unseen


def test_extra_methods_and_outside_runs_have_rows_too(tmp_path):
    for method in ("most_popular", "sasrec", "liger", "gru4rec", "my|model"):
        write_result(tmp_path / "in" / method.replace("|", ""), method, {"recommendation": 0.1}, None, "beauty")
    run(tmp_path / "in", "--output_dir", tmp_path / "out", "--figures")
    one, two = ((tmp_path / f"out/table_{number}.md").read_text() for number in (1, 2))
    order = [one.index(f"| {name} |") for name in ("Most popular", "SASRec", "TIGER", "LIGER", "my\\|model")]
    assert order == sorted(order)
    assert cells(two, "GRU4Rec")[2] == "**0.1000** *0.0283*"  # by its name beside the published one
    assert "LIGER" not in two


def test_mixtures_get_one_section_per_base_method(tmp_path):
    for method in ("mender_tok", "mender_emb"):
        for level, mixture in ((0.4, "none"), (0.2, "pos_neg"), (0.2, "all_prefs")):
            write_result(tmp_path / "in" / method / mixture, method, level, 0, "beauty", mixture=mixture)
    run(tmp_path / "in", "--output_dir", tmp_path / "out", "--figures")
    emb, tok = (tmp_path / "out/table_5.md").read_text().split("### ")[1:]
    assert emb.startswith("Mender_Emb")
    assert cells(emb, "Mender_Emb-Pos-Neg")[2] == "0.2000"
    assert cells(tok, "Mender_Tok-Pos-Neg")[2] == "0.2000 *0.0778*"
    assert "AllPrefs" not in tok
    eight = (tmp_path / "out/table_8.md").read_text().split("### ")[2]
    assert cells(eight, "Mender_Tok-AllPrefs") == ["0.2000 *0.0131*", "0.1000 *0.0066*"]
    one = (tmp_path / "out/table_1.md").read_text()
    assert "Pos-Neg" not in one


def test_a_method_that_the_paper_does_not_have_is_a_row_and_no_mender_of_the_relative_improvement(tmp_path):
    for method, level in (("tiger", 0.2), ("mender_tok", 0.3), ("mender_steer", 0.8)):
        write_result(tmp_path / "in" / method, method, {"recommendation": level}, domain="beauty")
    write_result(tmp_path / "in/wanted", "mender_steer", {"recommendation": 0.9}, domain="beauty", mixture="wanted")
    run(tmp_path / "in", "--output_dir", tmp_path / "out", "--figures")
    one, two, five = ((tmp_path / f"out/table_{number}.md").read_text() for number in (1, 2, 5))
    assert cells(one, "Mender_Steer")[2] == "0.8000"
    assert one.index("| Mender_Tok |") < one.index("| Mender_Steer |")
    assert cells(one, "Rel. impr.")[2] == "+50.0% *+28.1%*"
    assert cells(one, "Mender_Steer (all axes)")[2] == "**0.9000**" and "| Mender_Tok |" not in two
    assert cells(two, "Mender_Steer (all axes)")[2] == "**0.9000**"
    for text in (one, two):
        assert "- Mender_Steer learns from the rows of all axes that say what is wanted; the others from" in text
        assert "Mender_Steer (all axes) 1 on Beauty" in text
    assert cells(five, "Mender_Steer-Wanted")[2] == "**0.9000**"
    assert five.index("Mender_Steer |") < five.index("Mender_Steer-Wanted |")


def test_the_default_method_stands_in_the_comparisons_and_its_own_mixture_alone_compares_nothing(tmp_path, capsys):
    write_result(tmp_path / "tiger", "tiger", 0.2)
    write_result(tmp_path / "steer", "mender_steer", 0.4, mixture="wanted", text_encoder="minilm")
    write_rows(tmp_path / "steer", [3, 4], [1, 0])
    assert run(tmp_path, "--output_dir", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "table 5 skipped: " in printed and not (tmp_path / "out/table_5.md").exists()
    assert all(f"figure_{number}_toy.png" in printed for number in (3, 4, 6))
    one = (tmp_path / "out/table_1.md").read_text()
    assert cells(one, "Mender_Steer (all axes)", "Fine")[2] == "**0.4000**"
    assert "Seeds: TIGER 1 on toy; Mender_Steer (all axes, minilm) 1 on toy." in one
    with (tmp_path / "out/tables.csv").open() as file:
        assert {row["variant"] for row in csv.DictReader(file) if row["method"] == "mender_steer"} == {"wanted"}


def test_notes_speak_of_published_figures_and_deviations_only_where_the_table_has_them(tmp_path):
    for seed in (0, 1):
        write_result(tmp_path / f"toy/{seed}", seed=seed)
        write_result(tmp_path / f"beauty/{seed}", seed=seed, domain="beauty")
    write_result(tmp_path / "beauty/alone", "tiger", domain="beauty")
    run(tmp_path / "toy", "--output_dir", tmp_path / "own", "--figures")
    run(tmp_path / "beauty", "--output_dir", tmp_path / "paper", "--figures")
    assert "ublished" not in (tmp_path / "own/tables.md").read_text().split("\n", 1)[1]
    one, six = ((tmp_path / f"paper/table_{number}.md").read_text() for number in (1, 6))
    assert "*the published figure* is in italics" in one and "TIGER's published zeros" in one
    assert "A cell holds the sample standard deviation of ours over seeds" in six and "TIGER 1 on" not in six


def test_a_larger_encoder_is_table_9s_and_not_table_1s(tmp_path):
    for level, encoder in ((0.2, "google/flan-t5-small"), (0.4, "google/flan-t5-xxl")):
        write_result(tmp_path / "in" / encoder[-3:], "mender_tok", level, 0, "beauty", text_encoder=encoder)
    write_result(tmp_path / "in/mini", "mender_tok", 0.1, 0, "beauty", text_encoder="minilm", mixture="pos")
    run(tmp_path / "in", "--output_dir", tmp_path / "out", "--figures")
    nine = (tmp_path / "out/table_9.md").read_text()
    assert cells(nine, "Mender_Tok (flan-t5-small)")[2] == "0.2000 *0.0937*"
    assert cells(nine, "Mender_Tok (flan-t5-xxl)")[2] == "**0.4000** *0.0802*"
    assert cells((tmp_path / "out/table_1.md").read_text(), "Mender_Tok")[2] == "0.2000 *0.0937*"


def test_times_stand_beside_the_published_ones(tmp_path):
    write_result(tmp_path / "in", "mender_tok", 0.4, domain="beauty")
    run(tmp_path / "in", "--output_dir", tmp_path / "out", "--figures")
    row = cells((tmp_path / "out/table_7.md").read_text(), "Mender_Tok")
    assert row == ["Beauty", "2 *2324*", "2 *562*", "0.2000 *0.0508 ± 0.0002*", "0.4000 *0.0937 ± 0.0012*"]


def test_preferences_of_different_writers_or_prompts_get_blocks_of_their_own(tmp_path):
    write_result(tmp_path / "in/a", "tiger", {"recommendation": 0.1})
    for prompt in ("default/1", "coarse/1"):
        details = {"model": "llama", "prompt_version": prompt}
        benchmark = {"approximator": "llm", "approximator_details": details}
        write_result(tmp_path / "in" / prompt[:4], "tiger", {"recommendation": 0.2}, 0, benchmark=benchmark)
    run(tmp_path / "in", "--output_dir", tmp_path / "out", "--figures")
    blocks = (tmp_path / "out/table_1.md").read_text().split("### ")[1:]
    assert [block.split(", every")[0] for block in blocks] == [
        "Preferences by llm llama", "Preferences by llm llama, coarse prompt", "Preferences by metadata",
    ]  # fmt: skip
    assert [cells(block, "TIGER")[2] for block in blocks] == ["0.2000", "0.2000", "0.1000"]


def test_domains_can_be_chosen_and_a_stale_table_does_not_stay(tmp_path, capsys):
    write_result(tmp_path / "in/a", mixture="pos")
    write_result(tmp_path / "in/b", domain="beauty")
    run(tmp_path / "in", "--output_dir", tmp_path / "out", "--figures")
    assert (tmp_path / "out/table_5.md").is_file()
    capsys.readouterr()
    assert run(tmp_path / "in", "--output_dir", tmp_path / "out", "--figures", "--domains", "beauty") == 0
    assert "table 5 skipped: no method was trained on another mixture" in capsys.readouterr().out
    assert not (tmp_path / "out/table_5.md").exists()
    assert "toy" not in (tmp_path / "out/tables.md").read_text()
    assert not list((tmp_path / "out").glob("*.tmp"))


# -- figures --------------------------------------------------------------------------------------------------------


def test_hits_are_counted_by_length_of_the_history(tmp_path):
    for seed, ranks in enumerate(([1, 0, 10, 11], [1, 2, 10, 11])):
        write_result(tmp_path / str(seed), "tiger", {"recommendation": 0.1}, seed)
        write_rows(tmp_path / str(seed), [3, 3, 19, 19], ranks)
    (group,) = groups_of(tmp_path)
    found = {name: values.tolist() for name, values in hits_by_length(group).items()}
    assert found == {"length": [3, 19], "rows": [2, 2], "hits": [1.5, 1.0]}
    assert hits_by_length(group, "unseen")["hits"].tolist() == [0, 0]


def test_every_figure_is_a_picture_when_its_inputs_are_there(tmp_path, capsys):
    for method in ("tiger", "tiger_user_emb", "liger", "mender_tok"):
        levels = {axis: None if axis == "sentiment" and method != "mender_tok" else 0.3 for axis in ROWS}
        write_result(tmp_path / "in" / method, method, levels)
    write_rows(tmp_path / "in/tiger", [3, 4, 19], [1, 0, 2])
    write_result(tmp_path / "in/pos", mixture="pos")
    write_result(tmp_path / "in/history", inputs="history")
    write_result(tmp_path / "in/coarse", benchmark={"approximator": "metadata", "name": "toy-coarse"})
    assert run(tmp_path / "in", "--output_dir", tmp_path / "out", "--tables") == 0
    for number in (3, 4, 5, 6, 7):
        assert imread(tmp_path / f"out/figure_{number}_toy_metadata.png").shape[2] == 4
    assert not [
        line for line in capsys.readouterr().out.splitlines() if "metadata:" in line or "metadata skip" in line
    ]


def test_a_figure_without_its_inputs_is_skipped_with_the_reason(tmp_path, capsys):
    write_result(tmp_path / "in", "mender_tok", {"recommendation": 0.3})
    assert run(tmp_path / "in", "--output_dir", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    for words in ("figure 3 of toy", "figure 5 of toy", "figure 6 of toy", "figure 7 of toy"):
        assert any(words in line and "skipped: " in line for line in printed.splitlines()), words
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["figure_4_toy.png"]


def drawn_by(monkeypatch):
    """The figures of matplotlib that are saved."""
    saved = []
    monkeypatch.setattr("dataset_builders.paper_tables.figures._save", lambda figure, path: saved.append(figure))
    return saved


def bars_of(plot):
    return [(bar.get_facecolor(), bar.get_hatch()) for bar in plot.patches]


def test_every_method_of_a_figure_looks_different(tmp_path, monkeypatch):
    figures = drawn_by(monkeypatch)
    methods = [*METHOD_TITLES, "mine", "yours"]
    for method in methods:
        write_result(tmp_path / method, method)
        write_rows(tmp_path / method, [3, 4], [1, 0])
    write_result(tmp_path / "wanted", "mender_steer", mixture="wanted")
    write_rows(tmp_path / "wanted", [3, 4], [1, 0])
    groups = groups_of(tmp_path)
    for number in (3, 4, 6):
        make_figure(number, groups, groups, "all", tmp_path / "figure.png")
    star, bars, lengths = figures
    for plot in (star.axes[0], lengths.subfigs[0].axes[0]):
        looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in plot.lines}
        assert len(looks) == len(plot.lines) == len(methods) + 1
        assert len({(color, marker) for color, _, marker in looks}) == len(looks)
    assert len(set(bars_of(bars.axes[0]))) == len(methods) + 1


def test_figure_4_names_its_rows_by_their_whole_titles_and_draws_mixtures_of_methods_with_two(tmp_path, monkeypatch):
    figures = drawn_by(monkeypatch)
    write_result(tmp_path / "steer", "mender_steer", mixture="wanted")
    for mixture in ("none", "pos"):
        write_result(tmp_path / mixture, mixture=mixture)
    groups = groups_of(tmp_path)
    make_figure(4, groups, groups, "all", tmp_path / "figure.png")
    plots = figures[0].axes
    assert [plot.get_title() for plot in plots[:2]] == [
        "Methods, on recommendation data",
        "Data mixtures of Mender_Tok",
    ]
    assert len(plots) == 2 * len(ROWS)
    titles = [plot.get_ylabel().rpartition("\n")[0].replace("\n", " ") for plot in plots[::2]]
    assert titles == [get_axis(axis).title for axis in axes_in_order() if axis in ROWS]
    assert [label.get_text() for label in plots[-2].get_xticklabels()] == ["Mender_Tok", "Mender_Steer (all axes)"]
    assert [label.get_text() for label in plots[-1].get_xticklabels()] == ["recommendation alone", "pos"]


def test_half_a_figure_says_what_the_other_half_lacks(tmp_path):
    write_result(tmp_path / "a", "tiger", {"recommendation": 0.3})
    write_result(tmp_path / "b", "liger", {"recommendation": 0.2})
    groups = groups_of(tmp_path)
    (reason,) = make_figure(7, groups, groups, "all", tmp_path / "figure.png")
    assert reason.startswith("right: ")
    assert (tmp_path / "figure.png").is_file()


def test_the_star_of_one_model_takes_axes_that_were_not_asked(tmp_path):
    axes = {
        "recommendation": AxisResult("recommendation", 4, Sides({"recall@3": 0.5}, {"recall@3": 0.25})),
        "sentiment": AxisResult("sentiment", 4),
        "fine": AxisResult("fine", 4, Sides({"recall@3": 0.0}, {"recall@3": 0.0})),
    }
    star_plot(axes, 3, "toy", tmp_path / "axes.png")
    assert imread(tmp_path / "axes.png").shape[2] == 4
    star_plot({"sentiment": axes["sentiment"]}, 3, "nothing asked", tmp_path / "axes.png")
    assert [path.name for path in tmp_path.iterdir()] == ["axes.png"]


def test_the_star_draws_the_best_baseline_where_there_is_one(tmp_path, monkeypatch):
    drawn = {}

    def draw_star(figure, labels, outlines, styles, *rest, **more):
        drawn.update(outlines=outlines, labels=labels)

    monkeypatch.setattr("dataset_builders.paper_tables.figures.draw_star", draw_star)
    known = {"constant_list": {"recall@3": 0.75}, "history_only": {"recall@3": 0.25}}
    axes = {name: AxisResult(name, 4, Sides({"recall@3": 0.5})) for name in ("fine", "coarse")}
    star_plot(axes, 3, "toy", tmp_path / "axes.png")
    assert list(drawn["outlines"]) == ["with preference", "without"]
    axes["fine"] = AxisResult("fine", 4, Sides({"recall@3": 0.5}), baselines=known)
    star_plot(axes, 3, "toy", tmp_path / "axes.png")
    assert drawn["outlines"]["best without training"] == [0.75, None]
    assert "without training 0.750" in drawn["labels"][0] and "without training" not in drawn["labels"][1]


# -- errors ---------------------------------------------------------------------------------------------------------


def refused(capsys, *arguments):
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_bad_folders_and_numbers_are_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    out = ("--output_dir", tmp_path / "out")
    assert "no results.json in or below" in refused(capsys, tmp_path / "empty", *out)
    assert "nowhere is no folder" in refused(capsys, tmp_path / "nowhere", *out)
    write_result(tmp_path / "in")
    assert "table 3 is unknown; choose among 1, 2, 5" in refused(capsys, tmp_path / "in", *out, "--tables", 3)
    assert "figure 8 is unknown" in refused(capsys, tmp_path / "in", *out, "--figures", 8)
    assert "there are toy (test)" in refused(capsys, tmp_path / "in", *out, "--domains", "steam")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "the file is no JSON"),
        ("[]", "the file holds a list"),
        ('{"method": "tiger"}', "domain is missing"),
        ('{"axes": {"fine": {}}}', "method is missing"),
    ],
)
def test_a_broken_file_is_named(tmp_path, capsys, text, words):
    write_result(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/results.json").write_text(text)
    error = refused(capsys, tmp_path, "--output_dir", tmp_path / "out")
    assert "bad/results.json" in error.replace("\\", "/")
    assert words in error


def test_every_broken_file_is_named(tmp_path, capsys):
    write_result(tmp_path / "good")
    for name in ("bad", "worse"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text("{")
    error = refused(capsys, tmp_path, "--output_dir", tmp_path / "out")
    assert "2 of 3 results cannot be read" in error and "bad/results.json" in error and "worse/results.json" in error


def test_an_axis_without_figures_of_the_other_protocol_has_none_of_it(tmp_path):
    path = write_result(tmp_path / "in")
    content = json.loads(path.read_text())
    del content["axes"]["fine"]["unseen"]
    path.write_text(json.dumps(content))
    (group,) = groups_of(tmp_path)
    assert group.cell("fine", "recall@10", "unseen") is None
    assert group.cell("fine", "recall@10") is not None
    assert group.cell("coarse", "recall@10", "unseen") is not None


def test_an_axis_without_its_rows_is_named(tmp_path, capsys):
    path = write_result(tmp_path / "in")
    content = json.loads(path.read_text())
    del content["axes"]["fine"]["num_rows"]
    path.write_text(json.dumps(content))
    error = refused(capsys, tmp_path / "in", "--output_dir", tmp_path / "out")
    assert f"{path}: axes.fine.num_rows (missing) must be a count" in error


@pytest.mark.parametrize(
    ("benchmark", "words"),
    [
        (
            {**BENCHMARK, "fingerprints": {"toy_fine": "b2" * 16}},
            "fingerprint of toy_fine " + "a1" * 16 + " against " + "b2" * 16,
        ),
        ({**BENCHMARK, "embedding_model": "other"}, "embedding model tiny against other"),
    ],
)
def test_results_of_different_benchmarks_never_share_a_table(tmp_path, capsys, benchmark, words):
    write_result(tmp_path / "in/a", "tiger")
    write_result(tmp_path / "in/b", "mender_tok", benchmark=benchmark)
    error = refused(capsys, tmp_path / "in", "--output_dir", tmp_path / "out")
    for part in (words, str(tmp_path / "in/a/results.json"), str(tmp_path / "in/b/results.json")):
        assert part in error


def test_results_of_different_numbers_of_rows_never_share_a_table(tmp_path, monkeypatch):
    write_result(tmp_path / "a", "tiger", {"recommendation": 0.1})
    monkeypatch.setitem(ROWS, "recommendation", 39)
    write_result(tmp_path / "b", "mender_tok", {"recommendation": 0.1})
    with pytest.raises(ValueError, match="rows of the axis recommendation 40 against 39"):
        check_comparable(find_results([tmp_path]))


def test_the_same_seed_twice_is_refused_and_a_folder_given_twice_is_read_once(tmp_path):
    write_result(tmp_path / "a")
    assert len(find_results([tmp_path, tmp_path / "a"])) == 1
    write_result(tmp_path / "b")
    with pytest.raises(ValueError, match="both mender_tok on toy with seed 0; give the folder of one"):
        groups_of(tmp_path)


def test_every_table_has_a_reason_for_being_skipped():
    assert all(spec.missing for spec in TABLES.values())
