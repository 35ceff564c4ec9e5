"""What vLLM's start leaves out, in the image that runs it."""

from collections.abc import Callable

import docker
import pytest

TRIM = "import sys; from hearth_engine import lean; lean.trim(); import torch, vllm.v1.engine.core\n"


@pytest.fixture
def python(images: dict[str, str], engine_client: docker.DockerClient) -> Callable[[str], str]:
    def run(script: str) -> str:
        made = engine_client.containers.run(
            images["engine"], ["-c", script], entrypoint="python", remove=True, stderr=True,
            read_only=True, tmpfs={"/tmp": "exec,mode=1777", "/home/hearth": "exec,uid=1000,gid=1000"},
        )  # fmt: skip
        return made.decode()

    return run


def test_the_compiler_is_not_imported(python: Callable[[str], str]) -> None:
    parts = "('torch._dynamo.eval_frame', 'torch._dynamo.convert_frame', 'torch._inductor.lowering')"
    assert "left out: True True True" in python(f"{TRIM}print('left out:', *(m not in sys.modules for m in {parts}))")


def test_who_compiles_after_all_gets_it(python: Callable[[str], str]) -> None:
    out = python(
        TRIM + "print(torch.compile(lambda x: x + 1, backend='eager')(torch.ones(2)), torch._dynamo.list_backends())"
    )
    assert "tensor([2., 2.])" in out
    assert "inductor" in out
