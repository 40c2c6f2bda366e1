"""Application of Ray Serve: a web process in front of replicas of each model, on one machine as on a cluster.

A config file of `serve run` or `serve deploy` names `modeling_mender.serving.application:build`, and `mender serve`
calls it too. The version of a model that is current is held by an actor beside its replicas, so a replica that starts
later loads the model that was put in place last.
"""

import asyncio
import dataclasses
import logging
import os
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.serve.config import DeploymentActorConfig
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from .answers import Answer, ServiceError, parse_body
from .batching import Batcher
from .settings import ServiceSettings
from .web import ADMIN_TOKEN, make_app

logger = logging.getLogger(__name__)

APPLICATION = "mender"
ATTEMPTS = 2  # of a call whose replica has died; a call that kills replicas is refused after that
SWAP_TIMEOUT_S = 600.0
HEALTH_TIMEOUT_S = 5.0
_CURRENT = "current_version"
QUIET = {"enable_access_log": False, "log_level": "WARNING"}


@ray.remote
class CurrentVersion:
    """Folder and version of the model that the replicas of a deployment hold."""

    def __init__(self, folder: str) -> None:
        self.state = (1, folder)

    def get(self) -> tuple[int, str]:
        """Version and folder."""
        return self.state

    def record(self, version: int, folder: str) -> None:
        """Stores a newer version."""
        self.state = max(self.state, (version, folder))


class Replica:
    """Process that holds a model and answers calls in batches.

    Args:
        settings (`dict`): Fields of [`ServiceSettings`].
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        from .served_model import ServedModel, answer_tickets  # imports torch, which the web process does without

        self.settings = ServiceSettings.read(settings)
        _prepare_libraries(self.settings.cpus_per_replica)
        self._loading = asyncio.Lock()
        version, folder = ray.get(self._current().get.remote())
        try:
            self.served = ServedModel(folder, self.settings.device, version, self.settings.max_body_bytes)
        except (ValueError, OSError) as error:
            raise RuntimeError(f"{LOAD_ERROR}{' '.join(str(error).split())}") from None
        self._batches = Batcher(answer_tickets, self.settings.batch_size)

    async def recommend(self, content: bytes) -> Answer:
        """Answers the body of a call, errors of the client included."""
        try:
            body = parse_body(content, self.settings.max_body_bytes)
            return await self.served.recommend(body, self._batches)
        except ServiceError as error:
            return error.answer()

    async def search(self, words: Any, limit: Any) -> Answer:
        """Searches the titles."""
        try:
            return await asyncio.to_thread(self.served.search, words, limit)
        except ServiceError as error:
            return error.answer()

    async def describe(self) -> dict[str, Any]:
        """Public description of the current model."""
        return self.served.current.describe()

    async def prepare(self, folder: str, version: int) -> str | None:
        """Loads a model beside the current one; returns what is wrong with it."""
        async with self._loading:
            try:
                await asyncio.to_thread(self.served.prepare, folder, version)
            except ServiceError as error:
                return str(error)
        return None

    async def record(self, version: int, folder: str) -> None:
        """Makes a version the one that new replicas load."""
        await self._current().record.remote(version, folder)

    async def exchange(self, version: int) -> bool:
        """Puts the prepared model in place."""
        return self.served.exchange(version)

    async def check_health(self) -> None:
        """Called by Ray every few seconds: follows an exchange that this replica has missed, in the background."""
        try:
            version, folder = await self._current().get.remote()
            if version > self.served.current.version and not self._loading.locked():
                self._catching_up = asyncio.create_task(self._catch_up(version, folder))
            elif version < self.served.current.version:  # the actor was restarted
                await self.record(self.served.current.version, self.served.current.folder)
        except (RayError, ValueError):  # it is being started
            logger.warning("the current version is not known; asking again at the next check")

    async def _catch_up(self, version: int, folder: str) -> None:
        if self.served.exchange(version):
            return
        if (error := await self.prepare(folder, version)) is None:
            self.served.exchange(version)
        else:
            logger.error("version %s cannot be loaded: %s", version, error)

    @staticmethod
    def _current() -> Any:
        """The actor with the current version; looked up at each use, because it may have been restarted."""
        return serve.get_deployment_actor(_CURRENT)


LOAD_ERROR = "the model cannot be served: "


class RayModel:
    """The replicas of a model, seen from the web process.

    Args:
        name (`str`): Name of the model.
        handle: Handle of its deployment.
        timeout_s (`float`): Seconds for a call.
    """

    def __init__(self, name: str, handle: Any, timeout_s: float) -> None:
        self.name, self.handle, self.timeout_s = name, handle, timeout_s

    async def recommend(self, content: bytes) -> Answer:
        """Answers the body of a call."""
        return await self._ask("recommend", content)

    async def search(self, words: Any, limit: Any = None) -> Answer:
        """Searches the titles."""
        return await self._ask("search", words, limit)

    async def describe(self) -> dict[str, Any]:
        """Public description of the current model."""
        return await self._ask("describe", timeout_s=min(HEALTH_TIMEOUT_S, self.timeout_s))

    async def swap(self, folder: str) -> dict[str, Any]:
        """Loads another model in all replicas beside the current one, and then puts it in place in all of them."""
        version = (await self.describe())["version"] + 1
        if errors := [error for error in await self._broadcast("prepare", folder, version) if error is not None]:
            raise ServiceError(422, errors[0])
        await self._ask("record", version, folder)
        await self._broadcast("exchange", version)
        return await self.describe()

    async def _broadcast(self, method: str, *values: Any) -> list[Any]:
        try:
            return await self.handle.broadcast(method, *values).results_async(timeout_s=SWAP_TIMEOUT_S)
        except (RayError, TimeoutError, DeploymentUnavailableError) as error:
            raise ServiceError(
                503,
                f"a replica of the model {self.name} was lost in the exchange ({type(error).__name__}); try again.",
            ) from None

    async def _ask(self, method: str, *values: Any, timeout_s: float | None = None) -> Any:
        """Asks a replica, and another one if it dies: a call changes nothing, so it may be asked twice."""
        seconds = self.timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(seconds):
                for _ in range(ATTEMPTS):
                    response = getattr(self.handle, method).remote(*values)
                    try:
                        return await response
                    except RayActorError:
                        continue
                    except asyncio.CancelledError:  # Ray goes on with a call that nobody awaits
                        response.cancel()
                        raise
        except TimeoutError:
            raise ServiceError(
                504, f"the model {self.name} did not answer within {seconds:g} s; ask for less."
            ) from None
        except BackPressureError:
            raise ServiceError(503, f"too many calls of the model {self.name} wait; try again soon.") from None
        except DeploymentUnavailableError:
            raise ServiceError(503, f"the model {self.name} is not available; try again soon.") from None
        raise ServiceError(
            503, f"{ATTEMPTS} replicas of the model {self.name} died under this call; try again, or ask for less."
        )


class WebService:
    """Process that takes the calls.

    Args:
        handles (`dict`): Handles of the models' deployments by name.
        settings (`dict`): Fields of [`ServiceSettings`].
    """

    def __init__(self, handles: dict[str, Any], settings: dict[str, Any]) -> None:
        self.settings = ServiceSettings.read(settings)
        self.models = {name: RayModel(name, handle, self.settings.timeout_s) for name, handle in handles.items()}

    def __serve_build_asgi_app__(self) -> Any:
        return make_app(self.models, self.settings, os.environ.get(ADMIN_TOKEN) or None)


def build(args: dict[str, Any]) -> serve.Application:
    """Builds the application.

    Args:
        args (`dict`): Fields of [`ServiceSettings`], as in a config file.

    Raises:
        ValueError: For an invalid setting.
    """
    settings = ServiceSettings.read(args)
    given = {**dataclasses.asdict(settings), "models": dict(settings.models)}
    handles = {name: _deployment(name, folder, settings).bind(given) for name, folder in settings.models.items()}
    web: Any = serve.deployment(
        serve.ingress()(WebService),
        name="web",
        max_ongoing_requests=2 * len(handles) * settings.max_in_service,
        ray_actor_options={"num_cpus": 1},
        health_check_period_s=2,
        logging_config=QUIET,
    )
    return web.bind(handles, given)


def _deployment(name: str, folder: str, settings: ServiceSettings) -> Any:
    """Deployment of a model."""
    current = DeploymentActorConfig(
        name=_CURRENT, actor_class=CurrentVersion, init_kwargs={"folder": folder}, actor_options={"num_cpus": 0}
    )
    return serve.deployment(
        Replica,
        name=f"model-{name}",
        num_replicas=settings.replicas,
        max_ongoing_requests=settings.max_ongoing,
        max_queued_requests=settings.max_waiting,
        ray_actor_options={"num_cpus": settings.cpus_per_replica, "num_gpus": settings.gpus},
        deployment_actors=[current],
        health_check_period_s=2,
        max_constructor_retry_count=1,
        logging_config=QUIET,
    )


def _prepare_libraries(num_threads: int) -> None:
    """Sets the threads of torch, and keeps transformers quiet."""
    import torch
    from transformers.utils import logging as transformers_logging

    torch.set_num_threads(num_threads)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
