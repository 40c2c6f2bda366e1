"""The config files of Ray Serve hold the application that the command starts, with settings that it knows."""

from dataclasses import asdict

import pytest
import yaml

from modeling_mender.commands.serve import make_settings, parse_arguments
from modeling_mender.request_values import names_of
from modeling_mender.serving.settings import ServiceSettings

pytest.importorskip("ray.serve", reason="the extra serve is not installed")
from ray.serve.schema import ServeDeploySchema  # noqa: E402

from modeling_mender.serving.application import APPLICATION, Replica, build  # noqa: E402

CONFIGS = ("one_machine", "cluster")


def read(project, name):
    return yaml.safe_load((project / "scripts" / "serve_configs" / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_file_is_valid_for_ray_and_sets_every_setting(project, name):
    config = ServeDeploySchema(**read(project, name))
    (application,) = config.applications
    assert (application.name, application.import_path) == (APPLICATION, f"{build.__module__}:{build.__name__}")
    assert set(application.args) == set(names_of(ServiceSettings))
    assert build(application.args)._bound_deployment.name == "web"


def test_the_config_file_of_one_machine_is_what_the_command_starts(project):
    settings = make_settings(parse_arguments(["outputs/quickstart/model"]))
    config = read(project, "one_machine")
    assert config["applications"][0]["args"] == asdict(settings)
    assert config["http_options"] == {"host": "127.0.0.1", "port": 8000}


def test_the_settings_reach_the_deployments():
    given = {"models": {"a": "x", "b": "y"}, "replicas": 3, "device": "cuda", "batch_size": 4, "max_waiting": 5}
    web = build(given)._bound_deployment
    models = web.init_args[0]
    assert list(models) == ["a", "b"]
    deployment = models["b"]._bound_deployment
    assert deployment.func_or_class is Replica and deployment.name == "model-b"
    assert (deployment.num_replicas, deployment.max_ongoing_requests, deployment.max_queued_requests) == (3, 8, 5)
    assert deployment.ray_actor_options["num_gpus"] == 1
    with pytest.raises(ValueError, match="copies: no such setting"):
        build({**given, "copies": 2})
