"""Times the service on Ray Serve beside calls one by one in Python, its memory, and the death of a replica under load.

    python scripts/benchmarks/benchmark_serving.py outputs/quickstart/model [--replicas 2] [--memory_calls 10000]

Starts `mender serve`'s application on this machine and asks it over HTTP from this process, each client one call after
the other; the load generator takes its share of the cores. Rounds of all ways alternate, and the median round counts.
Every call is a different request, with a history and, for a model that reads one, a preference. Then a replica is
killed while clients ask: every call must be answered, or be refused in JSON.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import aiohttp
import numpy as np
import psutil
import torch
from transformers import pipeline
from transformers.utils import logging as transformers_logging

from dataset_builders.commands.command_line import run_command
from modeling_mender.hub.loading import load_recommender, local_folder
from modeling_mender.hub.model_publication import reference_requests
from modeling_mender.methods.table import load_method
from modeling_mender.serving.one_machine import running
from modeling_mender.serving.settings import ServiceSettings

IN_PYTHON = "one by one in Python"


class Round(NamedTuple):
    """Seconds of each call of a round, calls by status, and the seconds of all."""

    seconds: list[float]
    statuses: Counter[int]
    spent: float


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("model", help="folder of a trained model, or its name on the Hub")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--num_calls", type=int, default=320, help="calls of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory_calls", type=int, default=10_000, help="calls between two looks at memory; 0: none")
    parser.add_argument("--replicas", type=int, default=1, help="of the rounds; the death is of one of two")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--k", type=int, default=10, help="items per request")
    parser.add_argument("--port", type=int, default=8770)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measures; returns 0, or 1 after one line on bad input, or where a call was lost."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    return run_command(lambda: run(parse_arguments(argv)))


def run(arguments: argparse.Namespace) -> None:
    """Everything between the arguments and the tables."""
    for name in ("num_calls", "rounds", "replicas"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"{name} ({getattr(arguments, name)}) must be at least 1.")
    torch.set_num_threads(1)
    model, processor = load_recommender(arguments.model, device=arguments.device)
    method = load_method(local_folder(arguments.model), model.config.model_type)
    requests = reference_requests(processor.items, method, arguments.num_calls)
    create: Any = pipeline  # its types list the tasks of transformers only
    pipe = create("preference-recommendation", model=model, processor=processor, device=arguments.device)
    pipe(requests[0], k=arguments.k)
    print(
        f"{arguments.model}: {method.name}, {model.config.num_items} items, k = {arguments.k}, {arguments.device}, "
        f"{arguments.replicas} replica(s) of 1 thread, {psutil.cpu_count()} cores, torch {torch.__version__}\n"
    )
    with running(settings_of(arguments, arguments.replicas), port=arguments.port) as url:
        show_rounds(url, pipe, requests, arguments)
        if arguments.memory_calls:
            show_memory(url, requests, arguments)
    with running(settings_of(arguments, 2), port=arguments.port) as url:
        show_death(url, requests, arguments)


def settings_of(arguments: argparse.Namespace, replicas: int) -> ServiceSettings:
    """Settings of the service."""
    return ServiceSettings(
        models={"default": arguments.model},
        replicas=replicas,
        device=arguments.device,
        batch_size=arguments.batch_size,
    )


def show_rounds(url: str, pipe: Any, requests: Sequence[Mapping[str, Any]], arguments: argparse.Namespace) -> None:
    """Prints latencies and throughput of all ways, the median of alternating rounds."""
    rounds: dict[Any, list[Round]] = {way: [] for way in (IN_PYTHON, *arguments.clients)}
    for number in range(-1, arguments.rounds):  # the first is for warming up
        for way, found in rounds.items():
            if way == IN_PYTHON:
                one = in_python(pipe, requests, arguments.k)
            else:
                one = asyncio.run(ask(url, requests, way, len(requests), arguments.k))
            if number >= 0:
                found.append(one)
    print("| way | calls/s | p50, ms | p95, ms | p99, ms | refused | throughput / Python |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    base = statistics.median(len(one.seconds) / one.spent for one in rounds[IN_PYTHON])
    for way, found in rounds.items():
        rate = statistics.median(len(one.seconds) / one.spent for one in found)
        shown = [statistics.median(np.percentile(one.seconds, part) for one in found) * 1000 for part in (50, 95, 99)]
        refused = sum(one.statuses.total() - one.statuses[200] for one in found)
        name = way if way == IN_PYTHON else f"service, {way} client(s)"
        print(f"| {name} | {rate:.1f} | {' | '.join(f'{one:.1f}' for one in shown)} | {refused} | {rate / base:.2f} |")


def in_python(pipe: Any, requests: Sequence[Mapping[str, Any]], k: int) -> Round:
    """Calls of the pipeline one after the other."""
    seconds = []
    begun = time.perf_counter()
    for request in requests:
        start = time.perf_counter()
        pipe(request, k=k)
        seconds.append(time.perf_counter() - start)
    return Round(seconds, Counter({200: len(requests)}), time.perf_counter() - begun)


async def ask(url: str, requests: Sequence[Mapping[str, Any]], num_clients: int, num_calls: int, k: int) -> Round:
    """Calls of the service by clients, each of which asks when its last answer has come.

    Raises:
        ValueError: If an answer is neither items nor an error in JSON.
    """
    seconds: list[float] = []
    statuses: Counter[int] = Counter()
    numbers = iter(range(num_calls))
    connector = aiohttp.TCPConnector(limit=num_clients)

    async with aiohttp.ClientSession(url, connector=connector) as session:

        async def client() -> None:
            for number in numbers:
                body = {"inputs": requests[number % len(requests)], "parameters": {"k": k}}
                start = time.perf_counter()
                async with session.post("/recommend", json=body) as answer:
                    content = await answer.json()
                seconds.append(time.perf_counter() - start)
                statuses[answer.status] += 1
                if answer.status == 200 and len(content) != k or answer.status != 200 and "error" not in content:
                    raise ValueError(f"a call got {answer.status} and {str(content)[:100]}.")

        begun = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(num_clients)))
        return Round(seconds, statuses, time.perf_counter() - begun)


def processes_of(words: str) -> list[psutil.Process]:
    """Processes of the service whose command line has some words."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if words in " ".join(child.cmdline()):
                found.append(child)
    return found


def show_memory(url: str, requests: Sequence[Mapping[str, Any]], arguments: argparse.Namespace) -> None:
    """Prints the memory of the service before and after many calls."""
    parts = {"replica": "ServeReplica:mender:model", "web process": "ServeReplica:mender:web", "proxy": "ProxyActor"}
    before = {name: memory_mb(words) for name, words in parts.items()}
    spent = asyncio.run(ask(url, requests, 8, arguments.memory_calls, arguments.k))
    rate = arguments.memory_calls / spent.spent
    print(f"\n{arguments.memory_calls} calls of 8 clients ({rate:.1f}/s), {dict(spent.statuses)}; memory, in MB:")
    for name, words in parts.items():
        after = memory_mb(words)
        print(f"  {name:<12} {before[name]:7.1f} before, {after:7.1f} after, {after - before[name]:+.1f}")


def memory_mb(words: str) -> float:
    """Memory that processes share with no other, in MB."""
    return sum(process.memory_full_info().uss for process in processes_of(words)) / 2**20


def show_death(url: str, requests: Sequence[Mapping[str, Any]], arguments: argparse.Namespace) -> None:
    """Kills one of two replicas while clients ask, and prints what became of the calls.

    Raises:
        ValueError: If a call was lost: its connection broke, or its answer was no JSON.
    """
    num_clients, num_calls = max(arguments.clients), 4 * arguments.num_calls

    async def kill_under_load() -> tuple[Round, float]:
        asked = asyncio.create_task(ask(url, requests, num_clients, num_calls, arguments.k))
        await asyncio.sleep(1)
        replicas = processes_of("ServeReplica:mender:model")
        pids = {replica.pid for replica in replicas}
        replicas[0].kill()
        start = time.perf_counter()
        while len({replica.pid for replica in processes_of("ServeReplica:mender:model")} - pids) < 1:
            await asyncio.sleep(0.2)
        return await asked, time.perf_counter() - start

    asyncio.run(ask(url, requests, num_clients, arguments.num_calls, arguments.k))
    try:
        one, started = asyncio.run(kill_under_load())
    except aiohttp.ClientError as error:
        raise ValueError(f"a call was lost ({type(error).__name__}: {error}).") from None
    print(
        f"\none of 2 replicas killed under {num_clients} clients: {num_calls} calls, {dict(one.statuses)}, none lost; "
        f"longest {max(one.seconds):.2f} s, median {statistics.median(one.seconds) * 1000:.0f} ms; its successor's "
        f"process began after {started:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
