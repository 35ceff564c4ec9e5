"""The canary: before vLLM opens its port, its log-probabilities of a few prompts are compared with the manifest's.

The hash of every file was right before the start; this is what those bytes do in the kernels of this machine.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from time import monotonic
from typing import Any

from hearth_engine.score import CanaryError, logprobs, measure
from hearth_quantizer.manifest import Manifest

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# The manifest's limits are for keys and values at 16 bit. Rounding them in transformers made the difference 1.4 to 4.6
# times as large (fp8), or 1.0 to 1.3 times (int8 with a scale a head); the rest is room for the attention kernels.
# On an H100 the demo model came to 0.5 of its limits with 16 bit, 1.4 with fp8, 0.4 with int8 and 3.3 with int4.
KV_FACTOR = {"fp8": 6.0, "int8_per_token_head": 2.0, "int4_per_token_head": 12.0}

_log = logging.getLogger("uvicorn.error")


class CanaryMiddleware:
    """For vLLM's `--middleware`. It holds the server's start-up back until the canary has passed.

    The server listens only after the application's start-up event, and a start-up that fails ends the process with
    status 3, engine included. Later requests cost a comparison of the scope's type.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    def __call__(self, scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        return self._start(scope, receive, send) if scope["type"] == "lifespan" else self._app(scope, receive, send)

    async def _start(self, scope: Message, receive: Receive, send: Send) -> None:
        problem = ""

        async def checked(message: Message) -> None:
            nonlocal problem
            if message["type"] == "lifespan.startup.complete":
                try:
                    _log.info(await self._check(scope["app"]))
                except Exception as error:  # whatever it is, vLLM did not do what it is going to be asked for
                    problem = str(error) if isinstance(error, CanaryError) else f"canary: {error!r}"
                    raise
            elif message["type"] == "lifespan.startup.failed" and problem:  # the application's word for the raise above
                message = {**message, "message": f"hearth-engine: {problem}"}
            await send(message)

        await self._app(scope, receive, checked)

    async def _check(self, application: Any) -> str:
        """Ask the application itself, by the path that clients take. Raises CanaryError; returns the figures."""
        import httpx2

        arguments = application.state.args
        canary = Manifest.load(Path(arguments.model)).canary
        if canary is None:
            raise CanaryError("the manifest has no canary")
        # A context that the user made short takes the beginning of each prompt and the one token that is generated.
        prompts = [list(prompt[: arguments.max_model_len - 1]) for prompt in canary.prompts]

        async def inner(scope: Message, receive: Receive, send: Send) -> None:
            await self._app({**scope, "app": application}, receive, send)

        started = monotonic()
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(inner), base_url="http://canary") as client:
            # prompt_logprobs: 0 is each token's own; such a request never reads the prefix cache.
            request = {"prompt": prompts, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
            answer = await client.post("/v1/completions", json=request)
        if answer.status_code != 200:
            raise CanaryError(f"canary: status {answer.status_code}: {answer.text[:300]}")
        choices = sorted(answer.json()["choices"], key=lambda choice: int(choice["index"]))
        computed = [
            logprobs(prompt, choice["prompt_logprobs"]) for prompt, choice in zip(prompts, choices, strict=True)
        ]
        factor = KV_FACTOR.get(arguments.kv_cache_dtype, 1.0)
        distance = measure(canary.logprobs, computed, [limit * factor for limit in canary.limits])
        return (
            f"hearth-engine: canary passed in {monotonic() - started:.2f} s: {distance.tokens} tokens, mean |Δ ln p| "
            f"{distance.mean:.4f}, {distance.share:.0%} of a prompt's limit"
        )
