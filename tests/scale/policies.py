"""The router's policies beside each other: how evenly they spread conversations, and what is left of the prefix cache.

    python -m tests.scale.policies [--sessions 64] [--turns 3] [POLICY …]

The whole stack of deploy/compose.scale.yaml, on the CPU; conversations begin with the same system prompt, go on with
words of their own, and are had sixteen at a time through both gateways. Prints a table and adds it to
reports/scale.json.
"""

import argparse
import itertools
import json
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
from tests.bench.router import POLICIES, SYSTEM
from tests.e2e.conftest import host, wait_until
from tests.report import add
from tests.scale.conftest import SERVICES, Scale

# Published by the engines in every run, so that all run alike; only kv_aware listens.
EVENTS = '{"enable_kv_cache_events": true, "publisher": "zmq", "endpoint": "tcp://*:5557"}'
MORE = {
    "kv_aware": [
        *("--kv-event-source", "http://engine-a:8000=tcp://engine-a:5557"),
        *("--kv-event-source", "http://engine-b:8000=tcp://engine-b:5557"),
        *("--kv-event-model", "hearth-tiny"),
    ]
}
WORKERS = ["http://engine-a:8000", "http://engine-b:8000"]
_runs = itertools.count(random.randrange(10**6))


def conversation(scale: Scale, number: int, run: int, turns: int) -> int:
    """Has one; returns how many of its turns were not answered."""
    told: list[dict[str, str]] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"{run} {number}: " + "I walked along the harbour and asked for its name. " * 8},
    ]
    for turn in range(turns):
        answer = scale.chat(gateway=(number + turn) % 2, messages=told)
        if answer.status_code != 200:
            return turns - turn
        told.append({"role": "assistant", "content": answer.json()["choices"][0]["message"]["content"] or "-"})
        told.append({"role": "user", "content": "And what did you see there then? Tell me more of it."})
    return 0


def measure(scale: Scale, sessions: int, turns: int) -> dict[str, Any]:
    routed, cached, run = scale.routed(), scale.hits(), next(_runs)
    with ThreadPoolExecutor(16) as pool:
        unanswered = sum(pool.map(lambda number: conversation(scale, number, run, turns), range(sessions)))
    routed = {engine: count - routed[engine] for engine, count in scale.routed().items()}
    cached = {what: count - cached[what] for what, count in scale.hits().items()}
    busiest, idlest = max(routed.values()), min(routed.values())
    return {
        "requests": sorted(routed.values(), reverse=True),
        "busiest : idlest": round(busiest / idlest, 2) if idlest else None,
        "hits": round(cached["hits"] / cached["queries"], 3),
        "unanswered": unanswered,
    }


def with_policy(scale: Scale, folder: Path, policy: str) -> None:
    """The router starts anew with it. Raises AssertionError when it does not come up."""
    file = folder / "policy.yaml"
    command = ["--worker-urls", *WORKERS, "--health-check-interval-secs", "1", "--policy", policy,
               *MORE.get(policy, [])]  # fmt: skip
    file.write_text(json.dumps({"services": {"router": {"command": command}}}))
    files = f"{scale.env['COMPOSE_FILE']}:{file}"
    host(
        "docker compose up --detach --no-build --no-deps --wait --wait-timeout 60 router",
        scale.env | {"COMPOSE_FILE": files},
    )
    wait_until(lambda: list(scale.workers().values()) == [True, True], "the router does not find both engines")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("policies", nargs="*", default=POLICIES, metavar="POLICY")
    given = parser.parse_args()
    scale = Scale(docker.from_env(timeout=600))
    scale.env["COMPOSE_PROFILES"] = "cpu,scale"
    scale.env["HEARTH_ENGINE_ARGS"] = f"--kv-events-config '{EVENTS}'"
    table: dict[str, Any] = {}
    try:
        host("bake cpu scale", scale.env)
        scale.up(*SERVICES[:-1])
        scale.get("router", f"8000/remove_worker?url={WORKERS[1]}", "POST")
        table["one engine"] = measure(scale, given.sessions, given.turns)
        with tempfile.TemporaryDirectory() as folder:
            for policy in given.policies:
                try:
                    with_policy(scale, Path(folder), policy)
                except AssertionError as error:
                    print(f"{policy}: {error}\n{scale.container('router').logs(tail=5).decode()}", file=sys.stderr)
                    continue
                table[policy] = measure(scale, given.sessions, given.turns)
                print(policy, table[policy], file=sys.stderr)
    finally:
        scale.compose("down --volumes --timeout 5")
    print("| policy | requests by engine | busiest : idlest | prefix-cache hits | of one engine's | unanswered |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, row in table.items():
        share = row["hits"] / table["one engine"]["hits"]
        cells = [" + ".join(map(str, row["requests"])), row["busiest : idlest"], row["hits"], f"{share:.0%}"]
        print(f"| {name} | {' | '.join(map(str, cells))} | {row['unanswered']} |")
    add("scale", {"policies": table})
    return 0


if __name__ == "__main__":
    sys.exit(main())
