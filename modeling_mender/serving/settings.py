"""Settings of the service, the same on one machine and in the config file of a cluster."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..request_values import names_of, refuse_unknown, shown

DEFAULT_NAME = "default"  # name of a model that is given without one
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Settings of the service.

    Attributes:
        models: Folder, or name on the Hub, of each model by its name; the first answers calls without a name.
        replicas: Processes that hold each model.
        device: Device of the models, such as `cpu` or `cuda`.
        batch_size: Requests that a replica computes at once, at most. It never waits for more.
        max_waiting: Calls of one model that wait while all replicas are busy; more are refused with status 503.
        timeout_s: Seconds after which a call is given up with status 504.
        max_body_bytes: Size of a body; larger ones are refused with status 413.
        cpus_per_replica: Cores that Ray sets aside for a replica, and threads of torch in it.
        gpus_per_replica: GPUs, or a fraction of one; `None` for one where the device is `cuda`.

    Raises:
        ValueError: For a value of another type or out of its range.
    """

    models: Mapping[str, str]
    replicas: int = 1
    device: str = "cpu"
    batch_size: int = 32
    max_waiting: int = 128
    timeout_s: float = 30.0
    max_body_bytes: int = 4_000_000
    cpus_per_replica: int = 1
    gpus_per_replica: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.models, Mapping) or not self.models:
            raise ValueError(
                f"models is {shown(self.models)}; give a name and a folder of each, as in {{'shop': DIR}}."
            )
        for name, folder in self.models.items():
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ValueError(
                    f"a model has the name {shown(name)}; give 1 to 64 letters, digits, dots, - and _, the first a "
                    "letter or a digit."
                )
            if not isinstance(folder, str) or not folder:
                raise ValueError(f"the model {name} is {shown(folder)}; give its folder, or its name on the Hub.")
        for name in ("replicas", "batch_size", "max_waiting", "max_body_bytes", "cpus_per_replica"):
            if isinstance(value := getattr(self, name), bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {shown(value)}; give a whole number from 1.")
        for name in ("timeout_s", "gpus_per_replica"):
            value = getattr(self, name)
            if value is None and name == "gpus_per_replica":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ValueError(f"{name} is {shown(value)}; give a number above 0.")
        if not isinstance(self.device, str) or not self.device:
            raise ValueError(f"device is {shown(self.device)}; give a name such as 'cpu' or 'cuda'.")

    @classmethod
    def read(cls, given: Any) -> "ServiceSettings":
        """Reads settings from a mapping of their names, such as `args` of a config file of Ray Serve.

        Raises:
            ValueError: For an unknown name, missing models, or an invalid value.
        """
        if not isinstance(given, Mapping):
            raise ValueError(f"the settings are {shown(given)}; give a mapping with {', '.join(names_of(cls))}.")
        refuse_unknown(given, names_of(cls), "{}: no such setting of the service")
        if "models" not in given:
            raise ValueError("the settings have no models; give a name and a folder of each, as in {'shop': DIR}.")
        return cls(**given)

    @property
    def gpus(self) -> float:
        """GPUs, or the fraction of one, that Ray sets aside for a replica."""
        if self.gpus_per_replica is not None:
            return self.gpus_per_replica
        return 1.0 if self.device.split(":")[0] == "cuda" else 0.0

    @property
    def max_ongoing(self) -> int:
        """Calls that a replica holds at once: a batch that is computed, and the next one that gathers."""
        return 2 * self.batch_size

    @property
    def max_in_service(self) -> int:
        """Calls of one model that are computed or wait."""
        return self.replicas * self.max_ongoing + self.max_waiting
