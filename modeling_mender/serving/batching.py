"""Batches of what gathers while the last batch is computed.

Ray Serve's own decorator forms a batch when its first request comes, also while another one is computed; then most
batches hold one request, unless all wait for a fixed time. Here, a batch is formed when it can be computed.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Request = TypeVar("Request")
Result = TypeVar("Result")


class Batcher(Generic[Request, Result]):
    """Computes requests in batches, one batch at a time, in a thread of its own.

    A batch takes a request of each waiting call in turn, so a call of many requests holds up no other for long.

    Args:
        compute (`Callable`): Returns a result for each of several requests.
        batch_size (`int`): Most requests of a batch.
    """

    def __init__(self, compute: Callable[[Sequence[Request]], Sequence[Result]], batch_size: int) -> None:
        self.compute, self.batch_size = compute, batch_size
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._waiting: deque[deque[tuple[Request, asyncio.Future[Result]]]] = deque()  # by call
        self._running: asyncio.Task | None = None

    async def __call__(self, requests: Sequence[Request]) -> list[Result]:
        """Computes the requests of a call; those that no batch has begun are left out once its caller has gone."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Result]] = [loop.create_future() for _ in requests]
        if futures:
            self._waiting.append(deque(zip(requests, futures, strict=True)))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:  # one has failed, or the caller has gone
                future.cancel()

    async def _run(self) -> None:
        """Computes batches until nothing waits."""
        while self._waiting:
            if not (batch := self._take()):
                continue
            requests, futures = zip(*batch, strict=True)
            loop = asyncio.get_running_loop()
            try:
                results = await loop.run_in_executor(self._executor, self.compute, requests)
            except Exception as error:  # each caller gets it
                for future in futures:
                    if not future.done():
                        future.set_exception(error)
            else:
                for future, result in zip(futures, results, strict=True):
                    if not future.done():
                        future.set_result(result)

    def _take(self) -> list[tuple[Request, asyncio.Future[Result]]]:
        """Removes the next batch from what waits, without requests whose callers have gone."""
        batch: list[tuple[Request, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self.batch_size:
            call = self._waiting.popleft()
            if not (one := call.popleft())[1].done():
                batch.append(one)
            if call:
                self._waiting.append(call)
        return batch
