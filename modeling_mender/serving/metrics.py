"""Metrics of the service in the text format of Prometheus."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
UNKNOWN = ""  # label of what is no model, so that a client cannot make labels


class ServiceMetrics:
    """Counters of one process of the web application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        labels = ["page", "model", "status"]
        self._calls = Counter("mender_calls", "Calls that were answered or refused.", labels, registry=registry)
        self._seconds = Histogram(
            "mender_call_seconds", "Seconds of a call.", ["page"], buckets=_SECONDS, registry=registry
        )
        self._batches = Histogram(
            "mender_batch_size",
            "Requests of the largest batch of a call.",
            ["model"],
            buckets=_SIZES,
            registry=registry,
        )
        self._version = Gauge(
            "mender_model_version", "Version of a model that answered last.", ["model"], registry=registry
        )
        self.in_progress = Gauge("mender_calls_in_progress", "Calls that are being answered.", registry=registry)

    def record(self, page: str, model: str, status: int, started: float) -> None:
        """Counts a call that began at `started`, as `time.perf_counter` gives it."""
        self._calls.labels(page, model, str(status)).inc()
        self._seconds.labels(page).observe(time.perf_counter() - started)

    def record_answer(self, model: str, version: int, batch_size: int) -> None:
        """Counts what a model answered."""
        self._version.labels(model).set(version)
        if batch_size:
            self._batches.labels(model).observe(batch_size)

    def text(self) -> bytes:
        """All metrics."""
        return generate_latest(self.registry)
