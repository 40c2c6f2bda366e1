"""What the web process makes of the errors of Ray, with a handle that raises them."""

import asyncio

import pytest

pytest.importorskip("ray.serve", reason="the extra serve is not installed")
from ray.exceptions import ActorDiedError  # noqa: E402
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError  # noqa: E402

from modeling_mender.serving.answers import Answer, ServiceError  # noqa: E402
from modeling_mender.serving.application import ATTEMPTS, RayModel  # noqa: E402

ANSWER = Answer(b"[]", version=1)


class Response:
    """Answer that is awaited; Ray goes on with its call until it is canceled."""

    def __init__(self, end):
        self.end, self.canceled = end, False

    async def wait(self):
        if self.end is None:
            await asyncio.sleep(60)
        if isinstance(self.end, Exception):
            raise self.end
        return self.end

    def __await__(self):
        return self.wait().__await__()

    def cancel(self):
        self.canceled = True


class Handle:
    """Handle of a deployment whose calls end one after the other as told: with a value, an error, or never."""

    def __init__(self, *ends, broadcasts=()):
        self.ends, self.broadcasts, self.asked, self.responses = list(ends), list(broadcasts), [], []

    def __getattr__(self, method):
        class Method:
            @staticmethod
            def remote(*values):
                self.asked.append((method, *values))
                self.responses.append(Response(self.ends.pop(0)))
                return self.responses[-1]

        return Method

    def broadcast(self, method, *values):
        self.asked.append((method, *values))
        results = self.broadcasts.pop(0)

        class Response:
            @staticmethod
            async def results_async(timeout_s):
                if isinstance(results, Exception):
                    raise results
                return results

        return Response


def model_of(*ends, **options):
    return RayModel("shop", Handle(*ends, **options), timeout_s=0.2)


def test_a_call_whose_replica_dies_is_asked_of_another_one():
    model = model_of(*[ActorDiedError()] * (ATTEMPTS - 1), ANSWER)
    assert asyncio.run(model.recommend(b"{}")) == ANSWER
    assert model.handle.asked == [("recommend", b"{}")] * ATTEMPTS


@pytest.mark.parametrize(
    ("ends", "status", "words"),
    [
        ([ActorDiedError()] * ATTEMPTS, 503, "died"),
        ([BackPressureError(9, 8)], 503, "too many calls"),
        ([DeploymentUnavailableError("model-shop")], 503, "not available"),
        ([None], 504, "within 0.2 s"),
        ([ActorDiedError(), None], 504, "within 0.2 s"),
    ],
)
def test_an_error_of_ray_is_a_clear_refusal(ends, status, words):
    model = model_of(*ends)
    with pytest.raises(ServiceError, match=words) as caught:
        asyncio.run(model.recommend(b"{}"))
    assert caught.value.status == status
    assert [response.canceled for response in model.handle.responses] == [end is None for end in ends]
    assert ("Retry-After" in caught.value.headers) == (status == 503)


def test_an_exchange_prepares_all_replicas_then_records_then_exchanges():
    model = model_of({"version": 4}, "recorded", {"version": 5}, broadcasts=([None, None], [True, True]))
    assert asyncio.run(model.swap("new")) == {"version": 5}
    assert model.handle.asked == [
        ("describe",), ("prepare", "new", 5), ("record", 5, "new"), ("exchange", 5), ("describe",)
    ]  # fmt: skip


@pytest.mark.parametrize(("result", "status"), [([None, "it is damaged"], 422), (ActorDiedError(), 503)])
def test_a_replica_that_cannot_prepare_leaves_all_as_they_are(result, status):
    model = model_of({"version": 4}, broadcasts=(result,))
    with pytest.raises(ServiceError) as caught:
        asyncio.run(model.swap("new"))
    assert caught.value.status == status
    assert [method for method, *_ in model.handle.asked] == ["describe", "prepare"]
