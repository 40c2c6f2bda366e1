"""Times a model in a page of headless Chromium beside Python's ONNX Runtime and torch, on the same requests.

    python scripts/benchmarks/benchmark_browser.py outputs/quickstart/model [--npm_archives FOLDER]

Pages are made in float32 and int8 and served from this machine; each round loads each page again, without a cache.
A request is a new sentence of two texts, one wanted and one avoided, over words of the catalog, and a history of
three items; no way has seen it before. Rounds alternate the ways, which have one thread each, and the last way has as
many as the browser gives an isolated page. Medians are over all requests of all rounds.
"""

import argparse
import functools
import platform
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from page_server import BROWSERS, serving
from transformers import pipeline
from transformers.utils import logging as transformers_logging

from dataset_builders.commands.command_line import run_command
from modeling_mender.commands.browser_page import BrowserPageArguments, make_page
from modeling_mender.hub.loading import load_recommender
from modeling_mender.onnx_export.export import export_onnx
from modeling_mender.onnx_export.runner import OnnxRecommender

# Headers of a page that may use threads.
ISOLATED = (("Cross-Origin-Opener-Policy", "same-origin"), ("Cross-Origin-Embedder-Policy", "require-corp"))
STEPS = ("reading", "encoding", "scoring", "all")
ANSWER = """async (requests) => {
  const answers = [];
  for (const request of requests) {
    const answer = await mender.recommend(request);
    answers.push({ items: answer.items.map((item) => item.item_id), milliseconds: answer.milliseconds });
  }
  return answers;
}"""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=str(__doc__).split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("model", help="folder of a mender_steer model without a decoder, or its name on the Hub")
    parser.add_argument("--num_requests", type=int, default=40, help="requests of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--npm_archives", type=Path, help="folder with the archives that npm pack writes")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measures; returns 0, or 1 after one line on bad input."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    return run_command(lambda: run(parse_arguments(argv)))


def run(arguments: argparse.Namespace) -> None:
    """Everything between the arguments and the tables."""
    for name in ("num_requests", "rounds"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"{name} ({getattr(arguments, name)}) must be at least 1.")
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise FileNotFoundError(f"none of {', '.join(BROWSERS)} is installed; install one.")
    from playwright.sync_api import sync_playwright

    torch.set_num_threads(1)
    model, processor = load_recommender(arguments.model)
    create: Any = pipeline  # its types list the tasks of transformers only
    pipe = create("preference-recommendation", model=model, processor=processor)
    fresh = new_requests(processor.words.vocabulary, model.config.num_items)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        ways: dict[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = {
            "torch, float32": lambda requests: by_pipeline(pipe, requests)
        }
        pages, sizes = {}, {}
        for dtype in ("float32", "int8"):
            export, page = folder / f"onnx_{dtype}", folder / dtype
            export.mkdir()
            export_onnx(model, processor, export, dtype)
            make_page(
                BrowserPageArguments(
                    model=str(export), output_dir=page, dtype=dtype, npm_archives=arguments.npm_archives
                )
            )
            recommender = OnnxRecommender.from_pretrained(export, num_threads=1)
            ways[f"ONNX Runtime, {dtype}"] = functools.partial(by_graphs, recommender, processor)
            pages[f"Chromium, {dtype}"] = stack.enter_context(serving(page))
            sizes[f"Chromium, {dtype}"] = sum(path.stat().st_size for path in page.rglob("*") if path.is_file())
        pages["Chromium, float32, threads"] = stack.enter_context(serving(folder / "float32", ISOLATED))
        driver = stack.enter_context(sync_playwright())
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        stack.callback(browser.close)
        print(
            f"{arguments.model}: {model.config.num_items} items; {platform.processor() or platform.machine()}, "
            f"{cpu_name()}; Chromium {browser.version}, torch {torch.__version__}; {arguments.rounds} rounds of "
            f"{arguments.num_requests} requests\n"
        )
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in (*ways, *pages)}
        loads: dict[str, list[dict[str, float]]] = {name: [] for name in pages}
        kept: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(arguments.rounds):
            warm, requests = [next(fresh) for _ in range(3)], [next(fresh) for _ in range(arguments.num_requests)]
            expected: list[dict[str, Any]] = []
            for name, way in ways.items():
                way(warm)
                answers = way(requests)
                expected = expected or answers
                found[name] += answers
                kept[name] += agreement(answers, expected)
            for name, address in pages.items():
                context = browser.new_context()  # with a cache of its own, empty
                page = context.new_page()
                start = time.perf_counter()
                page.goto(address)
                page.locator("body[data-ready]").wait_for(timeout=300_000)
                loads[name].append({**page.evaluate("mender.timings"), "ready": 1000 * (time.perf_counter() - start)})
                page.evaluate(ANSWER, warm)
                answers = page.evaluate(ANSWER, requests)
                found[name] += answers
                kept[name] += agreement(answers, expected)
                context.close()
    show(found, kept, loads, sizes)


def new_requests(words: Sequence[str], num_items: int) -> Iterator[dict[str, Any]]:
    """Requests of two texts and three items, none twice."""
    draw = random.Random(0)
    words = [word for word in words if word.isalpha() and len(word) > 2]
    seen = set()
    while True:
        first, second, third = draw.sample(words, 3)
        if (first, second, third) not in seen:
            seen.add((first, second, third))
            history = [draw.randint(1, num_items) for _ in range(3)]
            yield {"history": history, "preference": f"Search for {first} {second}, but nothing with {third}"}


def by_pipeline(pipe: Any, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers and milliseconds of the pipeline, one request after another."""
    answers = []
    for request in requests:
        start = time.perf_counter()
        items = [item["item_id"] for item in pipe(request, k=10)]
        answers.append({"items": items, "milliseconds": {"all": 1000 * (time.perf_counter() - start)}})
    return answers


def by_graphs(recommender: OnnxRecommender, processor: Any, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers and milliseconds of Python's ONNX Runtime."""
    answers = []
    for request in requests:
        start = time.perf_counter()
        inputs = processor(**{name: [value] for name, value in request.items()})
        items = recommender.recommend(**inputs, k=10).items[0].tolist()
        answers.append({"items": items, "milliseconds": {"all": 1000 * (time.perf_counter() - start)}})
    return answers


def agreement(answers: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]) -> list[float]:
    """Share of the expected items in each answer."""
    return [
        len(set(one["items"]) & set(other["items"])) / len(other["items"])
        for one, other in zip(answers, expected, strict=True)
    ]


def cpu_name() -> str:
    """Model and number of the processors, where the system says it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else "processor unknown"


def show(
    found: Mapping[str, Sequence[Mapping[str, Any]]],
    kept: Mapping[str, Sequence[float]],
    loads: Mapping[str, Sequence[Mapping[str, float]]],
    sizes: Mapping[str, int],
) -> None:
    """Prints the tables."""
    base = statistics.median(answer["milliseconds"]["all"] for answer in next(iter(found.values())))
    print("| way | ms a request, median | 95 % | beside torch | reading | encoding | scoring | same items as torch |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, answers in found.items():
        spent = {step: [one["milliseconds"][step] for one in answers if step in one["milliseconds"]] for step in STEPS}
        middle = statistics.median(spent["all"])
        high = statistics.quantiles(spent["all"], n=20)[-1]
        steps = [f"{statistics.median(spent[step]):.1f}" if spent[step] else "" for step in STEPS[:-1]]
        print(
            f"| {name} | {middle:.1f} | {high:.1f} | {middle / base:.2f} | {' | '.join(steps)} "
            f"| {statistics.mean(kept[name]):.1%} |"
        )
    print("\n| page | MB | s until it is ready | Pyodide ready after | graphs ready after |")
    print("|---|---:|---:|---:|---:|")
    for name, rows in loads.items():
        seconds = [statistics.median(row[key] for row in rows) / 1000 for key in ("ready", "python", "graphs")]
        size = sizes.get(name) or sizes[name.removesuffix(", threads")]
        print(f"| {name} | {size / 1e6:.1f} | {' | '.join(f'{one:.1f}' for one in seconds)} |")


if __name__ == "__main__":
    sys.exit(main())
