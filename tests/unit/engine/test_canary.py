"""The middleware around an application that answers as vLLM does, started the way its server starts it."""

import logging
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import httpx2
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from uvicorn import Config
from uvicorn.lifespan.on import LifespanOn

from hearth_engine.canary import KV_FACTOR, CanaryMiddleware
from hearth_engine.plan import CANARY, kv_types
from hearth_engine.settings import Settings
from hearth_quantizer.manifest import Canary, Manifest

PROMPTS = ((5, 6, 7, 8), (9, 10))
EXPECTED = Canary(prompts=PROMPTS, logprobs=((-1.0, -2.0, -3.0), (-0.5,)), limits=(0.05, 0.05))


def answer(request: dict[str, Any], off: float = 0.0) -> dict[str, Any]:
    """A completion for each prompt, last one first, each of its log-probabilities off by so much."""
    known = dict(zip(PROMPTS, EXPECTED.logprobs, strict=True))
    choices = []
    for index, prompt in reversed(list(enumerate(request["prompt"]))):
        whole = next(whole for whole in PROMPTS if whole[: len(prompt)] == tuple(prompt))
        positions = [
            {str(token): {"logprob": logprob + off}} for token, logprob in zip(prompt[1:], known[whole], strict=False)
        ]
        choices.append({"index": index, "prompt_logprobs": [None, *positions]})
    return {"choices": choices}


class Vllm:
    """The application. `asked` holds the requests for completions, `respond` answers them."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[dict[str, Any]] = []
        self.respond: Callable[[dict[str, Any]], Any] = answer
        self.app = FastAPI(lifespan=self._lifespan)
        self.app.state.args = Namespace(model=str(folder), max_model_len=4096, kv_cache_dtype="auto")
        self.app.post("/v1/completions")(self._complete)
        self.app.get("/health")(lambda: "well")
        self.app.add_middleware(CanaryMiddleware)
        self.started = False

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        self.started = True
        yield

    async def _complete(self, raw: Request) -> Any:
        assert raw.app is self.app  # as vLLM's routes find their engine
        assert self.started
        self.asked.append(await raw.json())
        return self.respond(self.asked[-1])

    async def start(self) -> bool:
        """As the server does before it listens; whether it goes on."""
        lifespan = LifespanOn(Config(self.app, log_config=None))
        await lifespan.startup()
        return not lifespan.should_exit


@pytest.fixture
def vllm(tmp_path: Path, tiny: Manifest) -> Vllm:
    tiny.model_copy(update={"canary": EXPECTED}).save(tmp_path)
    return Vllm(tmp_path)


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "uvicorn.error")
    return caplog


async def test_a_match_lets_the_server_listen(vllm: Vllm, log: pytest.LogCaptureFixture) -> None:
    vllm.respond = lambda request: answer(request, off=0.04)
    assert await vllm.start()
    (asked,) = vllm.asked
    assert asked["prompt"] == [list(prompt) for prompt in PROMPTS]
    assert (asked["max_tokens"], asked["prompt_logprobs"]) == (1, 0)
    assert "canary passed" in log.text
    assert "4 tokens, mean |Δ ln p| 0.0400, 80% of a prompt's limit" in log.text


async def test_later_requests_pass_untouched(vllm: Vllm) -> None:
    await vllm.start()
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(vllm.app), base_url="http://vllm") as client:
        assert (await client.get("/health")).json() == "well"
    assert len(vllm.asked) == 1


async def test_a_short_context_takes_the_beginning_of_each_prompt(vllm: Vllm) -> None:
    vllm.app.state.args.max_model_len = 3
    assert await vllm.start()
    assert vllm.asked[0]["prompt"] == [[5, 6], [9, 10]]


@pytest.mark.parametrize(("kv", "off"), [("int8_per_token_head", 0.09), ("fp8", 0.29)])
async def test_an_8_bit_kv_cache_may_differ_more(
    vllm: Vllm, log: pytest.LogCaptureFixture, kv: str, off: float
) -> None:
    vllm.app.state.args.kv_cache_dtype = kv
    vllm.respond = lambda request: answer(request, off=off)
    assert await vllm.start(), log.text
    vllm.app.state.args.kv_cache_dtype = "bfloat16"
    assert not await vllm.start()


def test_every_kv_type_of_a_plan_has_its_factor() -> None:
    wanted = get_args(Settings.model_fields["kv_cache_dtype"].annotation)
    types = {kv.name for capability in ((8, 6), (8, 9), (9, 0)) for name in wanted for kv in kv_types(capability, name)}
    assert types - {"bfloat16"} == KV_FACTOR.keys()


def raises(request: dict[str, Any]) -> Any:
    raise RuntimeError("out of luck")


@pytest.mark.parametrize(
    ("respond", "says"),
    [
        (lambda request: answer(request, off=0.06), "canary prompt 0: log-probabilities differ by 0.0600"),
        (lambda request: JSONResponse({"error": {"message": "no"}}, 400), 'canary: status 400: {"error"'),
        (lambda request: {"choices": []}, "canary: ValueError"),
        (lambda request: {"choices": [{"index": 0}, {"index": 1}]}, "canary: KeyError('prompt_logprobs')"),
        (raises, "canary: RuntimeError('out of luck')"),
    ],
)
async def test_anything_else_keeps_the_server_from_listening(
    vllm: Vllm, log: pytest.LogCaptureFixture, respond: Callable[[dict[str, Any]], Any], says: str
) -> None:
    vllm.respond = respond
    assert not await vllm.start()
    (reason,) = [record.message for record in log.records if "hearth-engine" in record.message]
    assert reason.startswith(f"hearth-engine: {says}")
    assert "Traceback" not in log.text


async def test_a_manifest_without_a_canary_is_refused(
    vllm: Vllm, log: pytest.LogCaptureFixture, tmp_path: Path, tiny: Manifest
) -> None:
    tiny.save(tmp_path)
    assert not await vllm.start()
    assert "the manifest has no canary" in log.text


def test_the_plan_names_the_class() -> None:
    assert f"{CanaryMiddleware.__module__}.{CanaryMiddleware.__qualname__}" == CANARY
