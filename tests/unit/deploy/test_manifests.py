"""The manifests of deploy/k8s: valid, as reviewed, and of one mind with the images, the settings and compose.yaml.

`UPDATE_GOLDEN=1 pytest tests/unit/deploy` writes what the overlays build anew.
"""

import os
import re
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from jsonschema import Draft202012Validator
from tests.unit.deploy.manifests import OVERLAYS, ROOT, Resource, built, container, one, resources, settings_of

import hearth_gateway
from hearth_engine import cli as engine_cli
from hearth_engine import settings as engine_settings
from hearth_gateway import settings as gateway_settings

GOLDEN = Path(__file__).parent / "golden"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
OLDEST, NEWEST = "1.30", "1.37"  # Kubernetes; before 1.30 a hook cannot sleep
UNITS = {"m": 2**20, "g": 2**30, "Mi": 2**20, "Gi": 2**30}

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def deployments(overlay: str, name: str | None = None) -> list[Resource]:
    return [found for found in resources(overlay, "Deployment") if name in (None, found["metadata"]["name"])]


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()
    return int(number) * UNITS[unit]


@every_overlay
def test_an_overlay_builds_what_was_reviewed(overlay: str) -> None:
    golden = GOLDEN / f"{overlay}.yaml"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(built(overlay))
    assert built(overlay) == golden.read_text()


def test_every_golden_file_belongs_to_an_overlay() -> None:
    assert {file.stem for file in GOLDEN.glob("*.yaml")} == set(OVERLAYS)


@every_overlay
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_resource_is_valid_for_kubernetes(overlay: str, version: str) -> None:
    for resource in resources(overlay):
        if resource["kind"] != "ScaledObject":
            kubernetes_validate.validate(resource, version, strict=True)


def test_the_scaled_object_is_valid_for_keda() -> None:
    """By the models that are made of KEDA's definition, closed: an unknown field is an error, not left out."""
    schema = ScaledObject.model_json_schema()
    for definition in (schema, *schema["$defs"].values()):
        if "properties" in definition:
            definition["additionalProperties"] = False
    (scaled,) = resources("keda", "ScaledObject")
    validator = Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(scaled)] == []
    misspelt = scaled | {"spec": scaled["spec"] | {"minReplicas": 1}}
    assert len(list(validator.iter_errors(misspelt))) == 1


@every_overlay
def test_the_images_are_those_that_the_build_makes(overlay: str) -> None:
    bake = (ROOT / "docker/docker-bake.hcl").read_text()
    version = re.search(r'"HEARTH_VERSION" *{ default = "(.*)" }', bake)[1]
    made = set()
    for name, tag in re.findall(r'image\("(.+?)", "?(.+?)"?\)$', bake, re.MULTILINE):
        tag = re.sub(r'\$\{recipe\("(.+?)"\)\}', r"\1", tag.replace("${suffix()}", ""))  # of the profile, no back end
        made.add(f"{name}:{tag.replace('${HEARTH_VERSION}', version).replace('HEARTH_VERSION', version)}")
    assert {container(found)["image"] for found in deployments(overlay)} <= made


@every_overlay
def test_settings_are_settings_and_their_values_are_allowed(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        "engine": (engine_settings, {name for name, _, _ in engine_settings.manual()}),
        "gateway": (gateway_settings, {name for name, _, _ in gateway_settings.manual()}),
    }
    for deployment in deployments(overlay):
        if not (found := known.get(deployment["metadata"]["name"])):
            continue
        service, names = found
        given = settings_of(overlay, deployment)
        assert set(given) <= names
        with monkeypatch.context() as environment:
            for name, value in given.items():
                environment.setenv(name, value)
            service.load()


@every_overlay
def test_no_manifest_holds_a_secret(overlay: str) -> None:
    """The keys are a secret that is made by hand, and files in the gateway alone."""
    assert resources(overlay, "Secret") == []
    for deployment in deployments(overlay):
        pod = deployment["spec"]["template"]["spec"]
        mounted = (
            {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
            if "volumes" in pod
            else set()
        )
        assert mounted == ({"hearth-keys"} if deployment["metadata"]["name"] == "gateway" else set())
        assert all("secretRef" not in source for source in container(deployment).get("envFrom", []))
        assert all("secretKeyRef" not in source.get("valueFrom", {}) for source in container(deployment).get("env", []))
    (folder,) = {
        mount["mountPath"]
        for mount in container(one("base", "Deployment", "gateway"))["volumeMounts"]
        if mount["name"] == "keys"
    }
    for deployment in deployments(overlay, "gateway"):
        given = settings_of(overlay, deployment)
        for setting in ("HEARTH_API_KEYS_FILE", "HEARTH_APPROVAL_KEY_FILE"):
            assert Path(given[setting]).parent == Path(folder)


@every_overlay
def test_probes_ask_what_exists(overlay: str) -> None:
    scripts = tomllib.loads((ROOT / "services/engine/pyproject.toml").read_text())["project"]["scripts"]
    paths = yaml.safe_load((Path(hearth_gateway.__file__).parent / "openapi.yaml").read_text())["paths"]
    for deployment in deployments(overlay, "engine"):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            program, *arguments = container(deployment)[probe]["exec"]["command"]
            assert program in scripts
            assert engine_cli._parser().parse_args(arguments).run is engine_cli.health
    for deployment in deployments(overlay, "gateway"):
        for probe in ("readinessProbe", "livenessProbe"):
            assert container(deployment)[probe]["httpGet"]["path"] in paths


@every_overlay
def test_running_answers_are_finished_before_a_pod_is_killed(overlay: str) -> None:
    for deployment in deployments(overlay):
        if deployment["metadata"]["name"] == "state":  # it answers in no time
            continue
        grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        takes = container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]
        match deployment["metadata"]["name"]:
            case "engine":
                takes += int(settings_of(overlay, deployment)["HEARTH_ENGINE_ARGS"].removeprefix("--shutdown-timeout="))
            case "gateway":
                takes += int(settings_of(overlay, deployment)["HEARTH_SHUTDOWN_GRACE"])
        assert takes + 10 <= grace


@every_overlay
def test_the_gateways_together_ask_no_more_than_the_engines_compute_at_once(overlay: str) -> None:
    scaled = {found["metadata"]["namespace"]: found["spec"] for found in resources(overlay, "ScaledObject")}
    for gateway in deployments(overlay, "gateway"):
        namespace = gateway["metadata"]["namespace"]
        engine = one(overlay, "Deployment", "engine", namespace)
        most = scaled[namespace]["maxReplicaCount"] if namespace in scaled else engine["spec"]["replicas"]
        default = 16 if container(engine)["image"].endswith("-cpu") else 64
        each = int(settings_of(overlay, engine).get("HEARTH_MAX_NUM_SEQS", default))
        asked = int(settings_of(overlay, gateway)["HEARTH_MAX_IN_FLIGHT"])
        assert asked * gateway["spec"]["replicas"] == each * most


@every_overlay
def test_what_compose_makes_writable_is_so_here_and_memory_is_as_large(overlay: str) -> None:
    for deployment in deployments(overlay):
        if (name := deployment["metadata"]["name"]) not in ("engine", "gateway"):  # not in compose.yaml
            continue
        cpu = container(deployment)["image"].endswith("-cpu")
        service = COMPOSE["gateway" if name == "gateway" else "engine-cpu" if cpu else "engine-gpu"]
        writable = {path.partition(":")[0] for path in service["tmpfs"]} | ({"/dev/shm"} if name == "engine" else set())
        mounts = {mount["mountPath"]: mount for mount in container(deployment)["volumeMounts"]}
        assert {path for path, mount in mounts.items() if not mount.get("readOnly")} == writable
        limit = re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", service["mem_limit"])
        assert size(container(deployment)["resources"]["limits"]["memory"]) == size(limit)


@every_overlay
def test_an_engine_has_a_whole_gpu_or_none(overlay: str) -> None:
    for deployment in deployments(overlay, "engine"):
        resources_ = container(deployment)["resources"]
        wanted = None if container(deployment)["image"].endswith("-cpu") else "1"
        assert {resources_[kind].get("nvidia.com/gpu") for kind in ("requests", "limits")} == {wanted}


@every_overlay
def test_the_routers_find_the_engines_and_the_gateways_find_the_routers(overlay: str) -> None:
    for router in deployments(overlay, "router"):
        namespace = router["metadata"]["namespace"]
        arguments = dict(argument.removeprefix("--").partition("=")[::2] for argument in container(router)["args"])
        engine = one(overlay, "Deployment", "engine", namespace)
        key, _, value = arguments["selector"].partition("=")
        assert engine["spec"]["template"]["metadata"]["labels"][key] == value
        assert int(arguments["service-discovery-port"]) == container(engine)["ports"][0]["containerPort"]
        gateway = one(overlay, "Deployment", "gateway", namespace)
        service = one(overlay, "Service", "router", namespace)
        (port,) = service["spec"]["ports"]
        assert (
            settings_of(overlay, gateway)["HEARTH_ENGINE_URL"] == f"http://{service['metadata']['name']}:{port['port']}"
        )


@every_overlay
def test_every_pod_is_fit_for_a_restricted_namespace(overlay: str) -> None:
    """Its rules, and a read-only root, which they do not ask for."""
    for namespace in resources(overlay, "Namespace"):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for deployment in deployments(overlay):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container(deployment)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert {kind for volume in pod.get("volumes", []) for kind in volume} <= {"name", "emptyDir", "secret"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        token = pod.get("automountServiceAccountToken", True)
        assert token is (deployment["metadata"]["name"] == "router")
        assert pod["enableServiceLinks"] is False


@every_overlay
def test_the_router_may_list_and_watch_pods_of_its_namespace_and_nothing_else(overlay: str) -> None:
    assert resources(overlay, "ClusterRole", "ClusterRoleBinding") == []
    for role in resources(overlay, "Role"):
        assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]


def test_the_tests_run_the_router_of_the_image() -> None:
    pinned = re.search(r"^vllm-router==.*$", (ROOT / "docker/requirements/router.in").read_text(), re.MULTILINE)[0]
    assert pinned in tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]


def test_the_router_is_asked_what_it_is_on_one_host() -> None:
    """Its arguments are those that were measured there, but for where the engines are, and for the policy: two routers
    share no table, so that only what a hash of the session says is the same for both."""
    text = (ROOT / "deploy/compose.scale.yaml").read_text()
    (measured,) = re.findall(r"command: \[--worker-urls, (.*?)\]", text, re.DOTALL)
    words = [word.strip('"') for word in re.split(r",\s*", measured) if not word.strip('"').startswith("http:")]
    given = container(one("base", "Deployment", "router"))["args"]
    flags = {"=".join(pair) for pair in zip(words[::2], words[1::2], strict=True) if pair[0] != "--policy"}
    assert flags <= set(given)
    assert not any(argument.startswith("--policy") for argument in given)  # the image's own, consistent_hash
