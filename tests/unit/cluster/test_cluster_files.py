"""The files that start a cluster: KubeRay, `ray up`, systemd and the image, each by the rules of who reads it."""

from __future__ import annotations

import configparser
import copy
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from cluster.cards.card_lock import LOCK_FOLDER
from cluster.cards.card_slots import card_resources
from cluster.connect import PACKAGES
from jobs.command_line import COMMANDS
from jobs.config.detect_config import DetectConfig
from tests.helpers.paths import ROOT

CLUSTER = ROOT / "cluster"
KUBERAY = CLUSTER / "kuberay"


class Strict(BaseModel):
    """Kubernetes writes its fields in camel case; one that is not named here is refused."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class Metadata(Strict):
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)


class HostPath(Strict):
    path: str = Field(pattern="^/")
    type: str = Field(pattern="^(CharDevice|DirectoryOrCreate)$")


class Claim(Strict):
    claim_name: str


class Volume(Strict):
    name: str
    host_path: HostPath | None = None
    persistent_volume_claim: Claim | None = None


class VolumeMount(Strict):
    name: str
    mount_path: str = Field(pattern="^/")


class Quantities(Strict):
    cpu: str = Field(pattern=r"^\d+m?$")
    memory: str = Field(pattern=r"^\d+(Mi|Gi)$")


class Resources(Strict):
    requests: Quantities
    limits: Quantities


class SecurityContext(Strict):
    privileged: bool
    run_as_user: int | None = None


class Container(Strict):
    name: str
    image: str
    resources: Resources
    security_context: SecurityContext | None = None
    volume_mounts: list[VolumeMount] = Field(default=[])


class PodSpec(Strict):
    containers: list[Container] = Field(min_length=1)
    node_selector: dict[str, str] = Field(default={})
    volumes: list[Volume] = Field(default=[])


class Template(Strict):
    spec: PodSpec


class Group(Strict):
    ray_start_params: dict[str, str]
    template: Template


class WorkerGroup(Group):
    group_name: str
    replicas: int
    min_replicas: int
    max_replicas: int


class AuthOptions(Strict):
    mode: str = Field(pattern="^(token|disabled)$")


class ClusterSpec(Strict):
    ray_version: str
    auth_options: AuthOptions
    head_group_spec: Group
    worker_group_specs: list[WorkerGroup]


class JobSpec(Strict):
    entrypoint: str
    entrypoint_num_cpus: float
    shutdown_after_job_finishes: bool
    ttl_seconds_after_finished: int = Field(ge=0)
    backoff_limit: int = Field(ge=0)
    ray_cluster_spec: ClusterSpec


class RayObject(Strict):
    api_version: str = Field(pattern=r"^ray\.io/v1$")
    kind: str = Field(pattern="^(RayCluster|RayJob)$")
    metadata: Metadata
    spec: dict[str, Any]


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((KUBERAY / name).read_text(encoding="utf-8")))


def cluster_spec(document: dict[str, Any]) -> ClusterSpec:
    found = RayObject.model_validate(document)
    if found.kind == "RayJob":
        return JobSpec.model_validate(found.spec).ray_cluster_spec
    return ClusterSpec.model_validate(found.spec)


EXAMPLE = str(ROOT / "docs" / "examples" / "kuberay_job.yaml")
EACH = pytest.mark.parametrize(
    "name", ["raycluster.yaml", "rayjob.yaml", EXAMPLE], ids=lambda name: Path(name).name
)


@EACH
def test_kuberay_objects_keep_the_fields_of_their_kind(name: str) -> None:
    assert cluster_spec(read(name)).auth_options.mode == "token"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["authOptions"], {"mode": "none"}),
        (["headGroupSpec", "rayStartParams", "num-cpus"], 0),  # Kubernetes wants a text here
        (["workerGroupSpecs", 0, "replica"], 2),
        (["workerGroupSpecs", 0, "template", "spec", "containers"], []),
        (
            ["workerGroupSpecs", 0, "template", "spec", "volumes", 0, "hostPath"],
            {"path": "dev", "type": "File"},
        ),
    ],
    ids=str,
)
def test_the_schema_refuses_a_broken_object(path: list[Any], value: object) -> None:
    document = copy.deepcopy(read("raycluster.yaml"))
    place: Any = document["spec"]
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        cluster_spec(document)


@EACH
def test_kuberay_workers_register_the_cards_that_they_mount(name: str) -> None:
    [group] = cluster_spec(read(name)).worker_group_specs
    # KubeRay hands the value to a shell, hence the outer quotes and the escapes.
    [registered] = shlex.split(group.ray_start_params["resources"])
    pod = group.template.spec
    [container] = pod.containers
    mounts = {mount.name: mount.mount_path for mount in container.volume_mounts}
    devices = {
        volume.name: volume.host_path.path
        for volume in pod.volumes
        if volume.host_path and volume.host_path.type == "CharDevice"
    }
    assert all(mounts[name] == path for name, path in devices.items())
    numbers = [int(match[1]) for path in devices.values() if (match := re.search(r"bm-sophon(\d+)$", path))]
    assert json.loads(registered) == card_resources(numbers, virtual=False)
    assert container.resources.requests == container.resources.limits, "a guaranteed pod is never throttled"


@EACH
def test_kuberay_workers_may_write_the_lock_folder_that_the_host_makes(name: str) -> None:
    [group] = cluster_spec(read(name)).worker_group_specs
    [container] = group.template.spec.containers
    made = [
        volume
        for volume in group.template.spec.volumes
        if volume.host_path and volume.host_path.path == str(LOCK_FOLDER)
    ]
    assert [volume.host_path.type for volume in made if volume.host_path] == ["DirectoryOrCreate"]
    assert container.security_context is not None
    assert container.security_context.run_as_user == 0, (
        "such a folder is root's, 0755, and the image's user is not root"
    )


@EACH
def test_kuberay_mounts_only_volumes_that_are_there(name: str) -> None:
    spec = cluster_spec(read(name))
    for group in (spec.head_group_spec, *spec.worker_group_specs):
        pod = group.template.spec
        known = {volume.name for volume in pod.volumes}
        for container in pod.containers:
            assert {mount.name for mount in container.volume_mounts} <= known
            assert container.image == "raysail:0.1.0"


def test_both_kuberay_objects_describe_the_same_cluster() -> None:
    assert cluster_spec(read("raycluster.yaml")) == cluster_spec(read("rayjob.yaml"))


@pytest.mark.parametrize("name", ["rayjob.yaml", EXAMPLE], ids=lambda name: Path(name).name)
def test_the_entrypoint_of_a_kuberay_job_is_a_command_that_would_run(name: str) -> None:
    job = JobSpec.model_validate(RayObject.model_validate(read(name)).spec)
    program, command, *options = shlex.split(job.entrypoint)
    assert (program, command) == ("raysail", "detect")
    flags = [option for option in options if option.startswith("--")]
    assert {flag[2:].replace("-", "_") for flag in flags} <= set(DetectConfig.model_fields)
    assert options[options.index("--output") + 1].startswith(("/", "s3://"))
    assert "--resume" in flags, "a second try goes on"
    assert job.backoff_limit > 0


def test_ray_up_takes_its_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((CLUSTER / "ray-up.yaml").read_text(encoding="utf-8"))
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    broken = prepare_config(copy.deepcopy(config))
    broken["upscaling_sped"] = 2
    with pytest.raises(Exception, match="upscaling_sped"):
        validate_config(broken)
    assert config["min_workers"] == config["max_workers"] == len(config["provider"]["worker_ips"])


def commands_in(text: str) -> list[list[str]]:
    """Every `raysail …` that a file starts."""
    return [shlex.split(found) for found in re.findall(r"/opt/raysail/bin/(raysail .*)", text)]


@pytest.mark.parametrize(
    "path",
    [CLUSTER / "ray-up.yaml", *sorted((CLUSTER / "systemd").glob("*.service"))],
    ids=lambda path: path.name,
)
def test_what_is_started_is_a_command_with_options_that_exist(path: Path) -> None:
    found = commands_in(path.read_text(encoding="utf-8"))
    assert found
    node = typer.main.get_command(next(one for one in COMMANDS if one.name == "node").load())
    for _program, command, action, *options in found:
        assert command == "node"
        parameters = {flag for parameter in node.commands[action].params for flag in parameter.opts}  # type: ignore[attr-defined]
        assert {option for option in options if option.startswith("--")} <= parameters


@pytest.mark.parametrize("name", ["raysail-head.service", "raysail-worker.service"])
def test_systemd_units_stay_in_the_foreground_and_come_back(name: str) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string((CLUSTER / "systemd" / name).read_text(encoding="utf-8"))
    service = unit["Service"]
    [command] = commands_in(f"{service['ExecStart']}\n")
    assert "--block" in command
    assert service["Restart"] == "on-failure"
    assert service["User"] == "raysail", "never root"
    assert unit["Install"]["WantedBy"] == "multi-user.target"
    assert ("EnvironmentFile" in service) == ("${HEAD}" in command)


def test_the_image_holds_every_package_and_is_no_root() -> None:
    lines = (CLUSTER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    known = {"FROM", "RUN", "COPY", "WORKDIR", "USER", "ENV"}
    assert {step[0] for step in steps} <= known
    assert steps[0][0] == "FROM"
    copied = {step[1].split()[0] for step in steps if step[0] == "COPY"}
    assert set(PACKAGES) <= copied
    assert all(
        (CLUSTER.parent / part).exists()
        for step in steps
        if step[0] == "COPY"
        for part in step[1].split()[:-1]
    )
    users = [step[1] for step in steps if step[0] == "USER"]
    assert users[-1] == "raysail"
    assert ["ENV", "RAY_AUTH_MODE=token"] in steps


def test_no_file_of_the_cluster_opens_it_to_strangers() -> None:
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in CLUSTER.rglob("*")
        if path.suffix in {".yaml", ".service"}
    }
    assert texts
    for path, text in texts.items():
        assert "RAY_AUTH_MODE=disabled" not in text, path
        if path.parent != KUBERAY:  # there it is the pod's own network
            assert "0.0.0.0" not in text, path
