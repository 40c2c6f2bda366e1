"""The world of the tests of the service: a tiny model, and an application around it in this process."""

import pytest
from tiny_models import train_tiny

from modeling_mender.serving.served_model import LocalModel, ServedModel
from modeling_mender.serving.settings import ServiceSettings

TOKEN = "a-secret"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
CALL = {"inputs": {"history": [1, 5], "preference": "search for red soap"}, "parameters": {"k": 3}}

# Bodies that are refused, with the status and words of the message.
REFUSED = {
    "no JSON": (b"{", 400, "no JSON"),
    "empty": (b"", 400, "no JSON"),
    "invalid UTF-8": (b'{"inputs": "\xff\xfe"}', 400, "utf-8"),
    "UTF-16": ('{"inputs": "tea"}'.encode("utf-16"), 400, "utf-8"),
    "NaN": (b'{"inputs": {"history": [1], "strength": NaN}}', 400, "NaN"),
    "deep JSON": (b"[" * 100_000, 400, "deep"),
    "a repeated key": (b'{"inputs": "tea", "inputs": "lamp"}', 400, "twice"),
    "a list": (b"[1]", 422, "give an object"),
    "no inputs": (b"{}", 422, "no inputs"),
    "scalars in a batch": (b'{"inputs": [3, 4]}', 422, "request 0"),
    "wrong types": (b'{"inputs": {"history": "soap"}}', 422, "history"),
    "a text in a history": (b'{"inputs": {"history": ["1"]}}', 422, "history"),
    "an unknown item": (b'{"inputs": [{"history": [1]}, {"history": [13]}]}', 422, "request 1"),
    "an unknown field": (b'{"inputs": {"wish": "tea"}}', 422, "wish"),
    "an unknown option": (b'{"inputs": "tea", "parameters": {"top": 1}}', 422, "top"),
    "a huge k": (b'{"inputs": "tea", "parameters": {"k": 1000000000}}', 422, "1..12"),
    "a huge number": (b'{"inputs": {"history": [' + b"9" * 400 + b"]}}", 422, "history"),
    "a million characters": (b'{"inputs": "' + b"a" * 1_000_000 + b'"}', 422, "2,000"),
    "half a character": (b'{"inputs": "\\ud800"}', 400, "surrogate"),
    "nothing left": (b'{"inputs": {"history": [1], "candidates": [2]}, "parameters": {"k": 3}}', 422, "allow more"),
}
REFUSED_CASES = [pytest.param(*case, id=name) for name, case in REFUSED.items()]


def make_model(folder) -> LocalModel:
    return LocalModel(ServedModel(str(folder)))


def settings_of(*names: str, **changes) -> ServiceSettings:
    return ServiceSettings(models={name: "nowhere" for name in names}, **changes)


def tiny_model(folder, **changes):
    return train_tiny("mender_steer", folder, **changes)
