"""Foreign text in cards, plots and terminals: a parser of Markdown shows it as the text that it is."""

import html
import re
from dataclasses import replace

import pytest
import yaml

from dataset_builders.benchmark.report import BuildReport
from dataset_builders.building.publication import dataset_card, evaluation_tasks
from dataset_builders.escaping import code, escaped, fence, legend_text, markdown, one_line, without_html
from dataset_builders.paper_tables.figures import star_plot
from dataset_builders.scoring.result_parts import AxisResult, Sides

HOSTILE = [
    "a|b", "a\nb", "`x` ``y``", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:1)",
    "![x](http://e.vil/p.png)", "**x** _y_ ~~z~~", "# head", "- item", "1. item", "> quote", "\\| \\", "&lt;b&gt;",
    "http://e.vil", "<http://e.vil>", "---\nlicense: mit\n---", "$\\frac$ 5", "\x1b[31mred\x07", "\u202eabc",
    "{{ 7 }}", "```\nx\n```", "+ x", "= x", "  lead", "_x", "~", "snake_case", "a\ud83db", "|", "Nüsse & Öl (5%)",
    "[x]: http://e.vil",
]  # fmt: skip


def tags(rendered):
    return re.findall(r"<\s*(/?\w+)", rendered)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_markdown_shows_foreign_text_as_it_is(text):
    markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")
    parser = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    table = parser.render(f"| a | b |\n|---|---|\n| {markdown(text)} | x |\n")
    plain = parser.render("| a | b |\n|---|---|\n| y | x |\n")
    assert tags(table) == tags(plain)
    assert html.unescape(re.findall(r"<td>(.*?)</td>", table)[0]) == one_line(text)
    item = parser.render(f"- {markdown(text)}\n")
    assert tags(item) == ["ul", "li", "/li", "/ul"]
    assert html.unescape(re.findall(r"<li>(.*?)</li>", item)[0]) == one_line(text)
    span = parser.render(f"| a | b |\n|---|---|\n| `{code(text)}` | x |\n")
    assert [tag for tag in tags(span) if tag not in ("code", "/code")] == tags(plain)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_one_line_has_nothing_that_a_terminal_obeys(text):
    line = one_line(text)
    assert line.isprintable() and line.encode() and one_line(line) == line
    assert len(one_line(text * 1000, 50)) <= 53


def test_a_block_of_code_is_closed_by_its_fence_alone():
    markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")
    text = yaml.safe_dump({"name": "a\n```\n<b>\n````\nc"})
    rendered = markdown_it.MarkdownIt("commonmark").render(f"{fence(text)}yaml\n{text}{fence(text)}\n")
    assert tags(rendered) == ["pre", "code", "/code", "/pre"]


def test_nested_values_are_escaped_with_their_names():
    assert escaped({"a|b": ["<b>", 1, None, {"x": "*y*"}]}) == {"a\\|b": ["\\<b>", 1, None, {"x": "\\*y\\*"}]}
    assert without_html("**a**\n<b>\x00") == "**a**\n&lt;b>"
    assert legend_text("_x") == " _x"


def hostile_report(text):
    return BuildReport(
        domain="toy", source=text, approximator=text, approximator_description=text, polarity=text,
        polarity_description=text, embedding_model=text, embedding_dtype=text, notice=text, num_actions=1,
        num_missing=1,
        options={"steering": "balanced", "steering_pool": text, "item_text_fields": [text], "user_stride": 1},
        about={"title": text, "terms": text, "citation": text, "license": text}, left_out={text: text},
        approximator_details={text: text, "nested": {text: text}}, skipped={text: 1}, noted={text: 1},
        weaknesses={text: 1}, notes={text: {text: {"train": 1}}},
    )  # fmt: skip


@pytest.mark.parametrize(
    "text", ["<script>x</script>", "a\n---\nlicense: evil\n---\n", "a|b\n|c|", "{{ 7 * 7 }}", "\x1b[2J"]
)
def test_the_card_of_a_benchmark_holds_foreign_text_as_text(tmp_path, text):
    markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")
    card = dataset_card(tmp_path, [hostile_report(text)], f'org/"{text}')
    _, front, body = re.split(r"^---$", card, maxsplit=2, flags=re.MULTILINE)
    assert yaml.safe_load(front)["license"] == "other"
    plain = dataset_card(tmp_path, [hostile_report("word")], "org/name").split("\n---\n", 1)[1]
    parser = markdown_it.MarkdownIt("commonmark").enable("table")
    rendered = parser.render(body)
    assert not {"script", "img", "b"} & set(tags(rendered)) and "49" not in body and "\x1b" not in card
    assert tags(rendered).count("td") == tags(parser.render(plain)).count("td")
    assert yaml.safe_load(evaluation_tasks([hostile_report(text)]))["tasks"] == []


def test_a_report_with_half_a_surrogate_pair_is_refused_by_its_key():
    with pytest.raises(ValueError, match=r"about\.title of the report .* half a surrogate pair"):
        replace(hostile_report("x"), about={"title": "a\ud800"}).to_json()


@pytest.mark.parametrize(
    "title", ["$x^", "$\\frac{1}$", "\\", "a" * 5000, "_", "\x1b[31m", "a\ud800", "日本", ""], ids=ascii
)
def test_a_plot_draws_any_title(tmp_path, title):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    axes = {
        name: AxisResult(name, 2, Sides({"recall@10": 0.5}, {"recall@10": 0.1}))
        for name in ("fine", "coarse", "words")
    }
    star_plot(axes, 10, f"{title} on toy", tmp_path / "axes.png")
    assert (tmp_path / "axes.png").stat().st_size > 1000
