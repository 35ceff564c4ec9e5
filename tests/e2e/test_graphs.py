"""Which CUDA graph vLLM's own code takes for a step, told by hearth_engine.graphs. No GPU is needed."""

import json
from pathlib import Path

import docker

from hearth_engine.graphs import decode_sizes, prompt_sizes

# (requests, tokens of the step) and the graph for it: of one token each, of mixed lengths, longer than any.
STEPS = [
    ((1, 1), ["FULL", 1]),
    ((3, 3), ["FULL", 4]),
    ((64, 64), ["FULL", 64]),
    ((2, 41), ["PIECEWISE", 64]),
    ((1, 65), ["PIECEWISE", 128]),
    ((7, 300), ["PIECEWISE", 512]),
    ((64, 2048), ["PIECEWISE", 2048]),
    ((1, 2049), None),
]


def test_each_step_has_its_graph(images: dict[str, str], engine_client: docker.DockerClient) -> None:
    scripts = Path(__file__).with_name("in_engine")
    out = engine_client.containers.run(
        images["engine"], ["/scripts/graphed.py", json.dumps([step for step, _ in STEPS])], entrypoint="python",
        remove=True, network_mode="none", environment={"LD_PRELOAD": "", "VLLM_USE_BREAKABLE_CUDAGRAPH": "1"},
        volumes={str(scripts): {"bind": "/scripts", "mode": "ro"}},
        tmpfs={"/tmp": "exec,mode=1777", "/home/hearth": "exec,uid=1000,gid=1000"},
    )  # fmt: skip
    found = json.loads(out.decode().splitlines()[-1])
    assert found["taken"] == [graph for _, graph in STEPS]
    assert found["captured"] == {"FULL": decode_sizes(64), "PIECEWISE": prompt_sizes(64, 2048)}
    assert found["restored"]
