"""A batch holds what has gathered while the last one was computed, and a caller that has gone is left out."""

import asyncio
import threading

import pytest

from modeling_mender.serving.batching import Batcher


class Gate:
    """A computation that waits at each batch until it is let through; squares numbers."""

    def __init__(self):
        self.batches, self.open = [], threading.Semaphore(0)

    def __call__(self, numbers):
        self.batches.append(list(numbers))
        self.open.acquire()
        if 0 in numbers:
            raise ZeroDivisionError
        return [number**2 for number in numbers]


async def begun(gate, number):
    while len(gate.batches) < number:
        await asyncio.sleep(0.001)


def test_requests_gather_while_a_batch_is_computed():
    async def run():
        gate = Gate()
        batcher = Batcher(gate, batch_size=3)
        tasks = [asyncio.create_task(batcher([1]))]
        await begun(gate, 1)  # alone, for it waits for nobody
        tasks += [asyncio.create_task(batcher([number])) for number in (2, 3, 4, 5)]
        await asyncio.sleep(0)
        gate.open.release(3)
        return gate.batches, await asyncio.gather(*tasks)

    assert asyncio.run(run()) == ([[1], [2, 3, 4], [5]], [[1], [4], [9], [16], [25]])


def test_a_request_whose_caller_has_gone_is_not_computed_and_holds_up_nobody():
    async def run():
        gate = Gate()
        batcher = Batcher(gate, batch_size=1)
        tasks = [asyncio.create_task(batcher(numbers)) for numbers in ([1, 4, 5, 6], [2], [3])]
        await begun(gate, 1)
        await asyncio.sleep(0)
        for gone in tasks[:2]:  # one is being computed in part, one waits
            gone.cancel()
        gate.open.release(2)
        return gate.batches, await tasks[2]

    assert asyncio.run(run()) == ([[1], [3]], [9])


def test_calls_of_many_requests_take_turns_with_others():
    async def run():
        gate = Gate()
        gate.open.release(9)
        batcher = Batcher(gate, batch_size=4)
        return await asyncio.gather(batcher(range(1, 10)), batcher([10]), batcher([11, 12])), gate.batches

    results, batches = asyncio.run(run())
    assert results == [[number**2 for number in numbers] for numbers in (range(1, 10), [10], [11, 12])]
    assert batches == [[1, 10, 11, 2], [12, 3, 4, 5], [6, 7, 8, 9]]


def test_a_failure_reaches_the_callers_of_its_batch_alone():
    async def run():
        gate = Gate()
        gate.open.release(2)
        batcher = Batcher(gate, batch_size=2)
        failed = await asyncio.gather(batcher([0]), batcher([1]), return_exceptions=True)
        return failed, await batcher([3])

    failed, after = asyncio.run(run())
    assert [type(one) for one in failed] == [ZeroDivisionError] * 2
    assert after == [9]


@pytest.mark.parametrize("calls", [1, 2])
def test_a_batcher_rests_between_calls_and_starts_again(calls):
    async def run():
        gate = Gate()
        gate.open.release(calls)
        batcher = Batcher(gate, batch_size=2)
        return [await batcher([number]) for number in range(1, 1 + calls)]

    assert asyncio.run(run()) == [[1], [4]][:calls]
