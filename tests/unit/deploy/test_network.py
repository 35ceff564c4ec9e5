"""Who reaches whom, by the network policies alone.

Their rules: a pod that no policy of a direction selects may do anything in that direction; one that some select may do
what any of them allows.
"""

from dataclasses import dataclass, field

import pytest
from tests.unit.deploy.manifests import OVERLAYS, Resource, resources

NAME = "app.kubernetes.io/name"


@dataclass(frozen=True)
class Pod:
    namespace: str
    name: str
    labels: dict[str, str] = field(default_factory=dict, hash=False)


STRANGER = Pod("elsewhere", "stranger")
PROMETHEUS = Pod("monitoring", "prometheus", {NAME: "prometheus"})
NAMES = Pod("kube-system", "kube-dns", {"k8s-app": "kube-dns"})


def pods_of(overlay: str) -> list[Pod]:
    return [
        Pod(found["metadata"]["namespace"], found["metadata"]["name"], found["spec"]["template"]["metadata"]["labels"])
        for found in resources(overlay, "Deployment")
    ]


def selects(selector: Resource, labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}
    return selector.get("matchLabels", {}).items() <= labels.items()


def is_peer(peer: Resource, namespace: str, pod: Pod) -> bool:
    assert set(peer) <= {"podSelector", "namespaceSelector"}
    if "namespaceSelector" in peer:
        where = selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": pod.namespace})
    else:
        where = pod.namespace == namespace
    return where and selects(peer.get("podSelector", {}), pod.labels)


def allows(policies: list[Resource], direction: str, pod: Pod, other: Pod, port: int) -> bool:
    side, end = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    mine = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == pod.namespace
        and direction in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], pod.labels)
    ]
    return not mine or any(
        port in {allowed["port"] for allowed in rule["ports"]}
        and (end not in rule or any(is_peer(peer, pod.namespace, other) for peer in rule[end]))
        for spec in mine
        for rule in spec.get(side, [])
    )


def reaches(overlay: str, source: Pod, target: Pod, port: int) -> bool:
    policies = resources(overlay, "NetworkPolicy")
    return allows(policies, "Egress", source, target, port) and allows(policies, "Ingress", target, source, port)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_clients_reach_the_gateway_it_the_router_and_that_the_engines(overlay: str) -> None:
    ours = pods_of(overlay)
    way = {"engine": "router", "router": "gateway", "state": "gateway"}
    ports = {"engine": 8000, "router": 8000, "gateway": 8080, "state": 6379}
    for target in ours:
        for source in [*ours, STRANGER, PROMETHEUS, NAMES]:
            if target.name == "gateway":
                allowed = source in (STRANGER, PROMETHEUS, NAMES)
            else:
                allowed = (source.namespace, source.name) == (target.namespace, way[target.name])
                allowed |= (overlay, target.name, source) == ("keda", "engine", PROMETHEUS)
            assert reaches(overlay, source, target, ports[target.name]) is allowed, (source, target)
            assert not reaches(overlay, source, target, 22)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_of_the_way_out_there_is_only_names_for_the_gateway_and_the_api_server_for_the_router(overlay: str) -> None:
    for pod in pods_of(overlay):
        assert reaches(overlay, pod, NAMES, 53) is (pod.name == "gateway")
        assert reaches(overlay, pod, STRANGER, 443) is (pod.name == "router")
        assert reaches(overlay, pod, STRANGER, 6443) is (pod.name == "router")
        assert not reaches(overlay, pod, STRANGER, 80)
