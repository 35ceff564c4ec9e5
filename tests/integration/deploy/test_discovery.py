"""The real router, by the arguments of its image and of its manifest, before an API server that is made here.

No cluster was there to show it: the router finds the engines by what its role lets it ask, takes those that are ready,
and lets go of one that ends while that one's answers go on.
"""

import asyncio
import contextlib
import copy
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml
from aiohttp import web
from tests.unit.deploy.manifests import ROOT, container, one

ROUTER = one("base", "Deployment", "router")
LABELS = one("base", "Deployment", "engine")["spec"]["template"]["metadata"]["labels"]
NAMESPACE = ROUTER["metadata"]["namespace"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


async def listen(stack: contextlib.AsyncExitStack, routes: list[web.RouteDef], host: str, port: int) -> None:
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, port).start()


class Cluster:
    """An API server with the pods of one namespace, as far as `list` and `watch` tell of them."""

    def __init__(self) -> None:
        self.asked: set[tuple[str, str]] = set()
        self.pods: dict[str, dict[str, Any]] = {}
        self._version = 1
        self._watchers: set[asyncio.Queue[dict[str, Any]]] = set()

    def routes(self) -> list[web.RouteDef]:
        return [web.route("*", "/{path:.*}", self._answer)]

    def put(self, name: str, ip: str, *, ready: bool = True, labels: dict[str, str] = LABELS) -> None:
        """A pod is there, or is another than it was."""
        conditions = [{"type": "Ready", "status": str(ready)}]
        self.pods[name] = {
            "apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "engine"}]},
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": name, "labels": labels},
            "status": {"phase": "Running", "podIP": ip, "conditions": conditions},
        }  # fmt: skip
        self._tell(self.pods[name])

    def end(self, name: str) -> None:
        """A pod has been told to end, and is as ready as before."""
        pod = self.pods.pop(name)
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self._tell(pod)

    def _tell(self, pod: dict[str, Any]) -> None:
        self._version += 1
        pod["metadata"]["resourceVersion"] = str(self._version)
        for watcher in self._watchers:
            watcher.put_nowait({"type": "MODIFIED", "object": copy.deepcopy(pod)})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        watch = request.query.get("watch") == "true"
        self.asked.add(("watch" if watch else "list" if request.method == "GET" else request.method, request.path))
        if not watch:
            metadata = {"resourceVersion": str(self._version)}
            return web.json_response(
                {"apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": list(self.pods.values())}
            )
        events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._watchers.add(events)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            while True:
                await response.write(json.dumps(await events.get()).encode() + b"\n")
        finally:
            self._watchers.discard(events)
        return response


class Engine:
    """Says which one it is; a stream ends when `finish` is set."""

    def __init__(self, ip: str) -> None:
        self.ip = ip
        self.finish = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/health", self._health), web.post("/v1/completions", self._complete)]

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        if not (await request.json()).get("stream"):
            return web.json_response({"choices": [{"text": self.ip}]})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: {}\n\n")
        await self.finish.wait()
        await response.write(b"data: [DONE]\n\n")
        return response


class Router:
    """What a client of one of the routers finds."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def says(self, path: str) -> int:
        async with self.session.get(path) as answer:
            return answer.status

    async def engine_of(self, conversation: str) -> str:
        """The address of the engine that a request of this conversation came to, or the status without one."""
        body, headers = {"model": "m", "prompt": "x"}, {"X-Session-ID": conversation}
        async with self.session.post("/v1/completions", json=body, headers=headers) as answer:
            return (await answer.json())["choices"][0]["text"] if answer.status == 200 else str(answer.status)

    async def knows(self, *engines: Engine) -> None:
        """Wait until these answer, and no other."""

        async def these() -> bool:
            return {await self.engine_of(f"conversation {number}") for number in range(12)} == {
                each.ip for each in engines
            }

        await until(these)


@dataclass
class Fleet:
    cluster: Cluster
    engines: list[Engine]
    routers: list[Router]


async def started(stack: contextlib.AsyncExitStack, kubeconfig: Path, engine_port: int) -> Router:
    stage = (ROOT / "docker/Dockerfile").read_text().split("FROM base AS router\n")[1].split("\nFROM ")[0]
    program, *flags = json.loads(re.search(r"ENTRYPOINT (\[.*?\])", stage, re.DOTALL)[1].replace("\\\n", ""))
    flags += [flag.replace("$(NAMESPACE)", NAMESPACE) for flag in container(ROUTER)["args"]]
    port = free_port()
    flags += ["--host", "127.0.0.1", "--port", str(port), "--service-discovery-port", str(engine_port)]
    flags += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
    environment = os.environ | {"KUBECONFIG": str(kubeconfig), "RUST_LOG": "warn"}
    process = await asyncio.create_subprocess_exec(Path(sys.executable).parent / program, *flags, env=environment)

    async def stop() -> None:
        process.terminate()
        assert await process.wait() == 0

    stack.push_async_callback(stop)
    router = Router(await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}")))

    async def listens() -> bool:
        assert process.returncode is None
        with contextlib.suppress(aiohttp.ClientConnectorError):
            return await router.says("/liveness") == 200
        return False

    await until(listens)
    return router


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everything(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    async with contextlib.AsyncExitStack() as stack:
        cluster, engines = Cluster(), [Engine("127.0.0.2"), Engine("127.0.0.3")]
        api_port, engine_port = free_port(), free_port()
        await listen(stack, cluster.routes(), "127.0.0.1", api_port)
        for engine in engines:
            await listen(stack, engine.routes(), engine.ip, engine_port)
        kubeconfig = tmp_path_factory.mktemp("cluster") / "config"
        kubeconfig.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{api_port}"}}],
            "users": [{"name": "here", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
        }))  # fmt: skip
        routers = await asyncio.gather(*(started(stack, kubeconfig, engine_port) for _ in range(2)))
        yield Fleet(cluster, engines, list(routers))


@pytest_asyncio.fixture(loop_scope="module")
async def fleet(everything: Fleet) -> AsyncIterator[Fleet]:
    """Two engines that no pod stands for yet, and two routers."""
    yield everything
    for name in list(everything.cluster.pods):
        everything.cluster.end(name)

    async def nobody() -> bool:
        return {await router.says("/readiness") for router in everything.routers} == {503}

    await until(nobody)


async def test_a_router_is_ready_while_an_engine_is(fleet: Fleet) -> None:
    router, first = fleet.routers[0], fleet.engines[0]
    fleet.cluster.put("another", "127.0.0.1", labels={"app.kubernetes.io/name": "gateway"})
    fleet.cluster.put("engine", first.ip, ready=False)
    await asyncio.sleep(0.5)
    assert await router.says("/readiness") == 503
    fleet.cluster.put("engine", first.ip)
    await router.knows(first)
    assert await router.says("/readiness") == 200
    fleet.cluster.put("engine", first.ip, ready=False)

    async def nobody() -> bool:
        return await router.says("/readiness") == 503

    await until(nobody)


async def test_it_asks_the_api_server_for_what_its_role_grants(fleet: Fleet) -> None:
    fleet.cluster.put("engine", fleet.engines[0].ip)
    await fleet.routers[0].knows(fleet.engines[0])
    (rule,) = one("base", "Role", "router")["rules"]
    (resource,) = rule["resources"]
    path = f"/api/v1/namespaces/{NAMESPACE}/{resource}"
    assert fleet.cluster.asked == {(verb, path) for verb in rule["verbs"]}


async def test_two_routers_send_a_conversation_to_the_same_engine(fleet: Fleet) -> None:
    first, second = fleet.routers
    for number, engine in enumerate(fleet.engines):
        fleet.cluster.put(f"engine-{number}", engine.ip)
    await first.knows(*fleet.engines)
    await second.knows(*fleet.engines)
    for number in range(32):
        assert await first.engine_of(f"session {number}") == await second.engine_of(f"session {number}")


async def test_an_engine_that_ends_gets_nothing_new_and_finishes_its_stream(fleet: Fleet) -> None:
    router, (first, second) = fleet.routers[0], fleet.engines
    fleet.cluster.put("engine-1", first.ip)
    await router.knows(first)
    body = {"model": "m", "prompt": "x", "stream": True}
    async with router.session.post("/v1/completions", json=body) as stream:
        assert await stream.content.readuntil(b"\n\n") == b"data: {}\n\n"
        fleet.cluster.put("engine-2", second.ip)
        fleet.cluster.end("engine-1")
        await router.knows(second)
        first.finish.set()
        assert await stream.content.read() == b"data: [DONE]\n\n"
