"""What kustomize makes of deploy/k8s."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
K8S = ROOT / "deploy/k8s"
OVERLAYS = {"base": K8S / "base"} | {folder.name: folder for folder in sorted((K8S / "overlays").iterdir())}

Resource = dict[str, Any]


@cache
def built(overlay: str) -> str:
    kubectl = Path(sys.executable).parent / "kubectl"
    done = subprocess.run([kubectl, "kustomize", OVERLAYS[overlay]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def _parsed(overlay: str) -> list[Resource]:
    return list(yaml.load_all(built(overlay), yaml.CSafeLoader))


def resources(overlay: str, *kinds: str) -> list[Resource]:
    """Those of an overlay that are of one of these kinds; all, if none is named. They are shared: change none."""
    return [found for found in _parsed(overlay) if not kinds or found["kind"] in kinds]


def one(overlay: str, kind: str, name: str, namespace: str | None = None) -> Resource:
    (found,) = [
        found
        for found in resources(overlay, kind)
        if found["metadata"]["name"] == name and namespace in (None, found["metadata"]["namespace"])
    ]
    return found


def container(deployment: Resource) -> Resource:
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


def settings_of(overlay: str, deployment: Resource) -> dict[str, str]:
    """The environment that a deployment's container gets of its config map."""
    (source,) = container(deployment)["envFrom"]
    return one(overlay, "ConfigMap", source["configMapRef"]["name"], deployment["metadata"]["namespace"])["data"]
