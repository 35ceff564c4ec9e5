"""The engine as the gateway sees it: pooled connections, its catalog, and whether it has produced a token lately.

Which engine that is, `route` says."""

import asyncio
import logging
import time
from collections.abc import Mapping
from functools import cached_property, partial
from types import SimpleNamespace, TracebackType
from typing import Any, cast

import aiohttp
import orjson
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from hearth_gateway.catalog import Catalog
from hearth_gateway.errors import Problem
from hearth_gateway.metrics import Metrics
from hearth_gateway.request import COMPLETIONS
from hearth_gateway.retry import Lost, Retries
from hearth_gateway.route import Route
from hearth_gateway.settings import Settings

_KEEPALIVE = 4.0  # below the 5 s after which the engine closes an idle connection, so that it never closes ours first
_CATALOG_AGE = 30.0  # a restarting engine takes longer than this until it serves
_READ_AHEAD = 2**18  # bytes
_SMALL_TIMEOUT = 10.0  # for answers that cost no computing
_PROBE_PAUSE = 1.0  # `/readyz` needs no key: however often it is asked, the engine is at most this often
_WRITTEN = cast("AbstractStreamWriter", SimpleNamespace(output_size=0))  # nobody asks how many bytes a request had
_RETRY_AFTER = {"Retry-After": "5"}

log = logging.getLogger(__name__)


def problem_of(error: BaseException) -> Problem:
    """What a client is told about a failed exchange with the engine."""
    match error:
        case Problem():
            return error
        case aiohttp.SocketTimeoutError():
            return Problem(504, "The engine did not answer in time.", code="engine_timeout")
        case aiohttp.ClientConnectionError() | ConnectionError():  # no connection, or lost before the answer began
            reached = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            return Lost(503, "The engine is not reachable. It may be starting: try again.",
                        code="engine_unavailable", headers=_RETRY_AFTER, reached=reached)  # fmt: skip
        case TimeoutError():
            return Problem(504, "The engine did not answer in time.", code="engine_timeout")
        case _:
            return Lost(502, "The engine's answer broke off or was not HTTP.", code="engine_broken", reached=True)


class _Protocol(ResponseHandler):
    """One timer an answer, which looks when it is due whether anything came. aiohttp starts a new one at each read."""

    _heard = 0.0

    def _reschedule_timeout(self) -> None:
        self._heard = self._loop.time()
        if self._read_timeout_handle is None and self._read_timeout:
            self._read_timeout_handle = self._loop.call_later(self._read_timeout, self._on_read_timeout)

    def _on_read_timeout(self) -> None:
        self._read_timeout_handle = None
        if self._read_timeout and (left := self._heard + self._read_timeout - self._loop.time()) > 0:
            self._read_timeout_handle = self._loop.call_later(left, self._on_read_timeout)
        else:
            super()._on_read_timeout()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp asks for it at each chunk that is read, and feeds its parser nothing, though nothing was paused."""
        if self._reading_paused:
            super().resume_reading(resume_parser)


class _Connector(aiohttp.TCPConnector):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._factory = cast("partial[ResponseHandler]", partial(_Protocol, loop=self._loop))


class Resource(aiohttp.ClientRequest):
    """A resource of the engine and the way there. One object for all requests to it: what differs goes into `head`."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._opening = f"{self.method} {self.url.raw_path_qs} HTTP/1.1\r\nHost: {self.headers['host']}\r\n"
        self._info = self.request_info

    @cached_property
    def connection_key(self) -> Any:
        return super().connection_key

    def head(self, length: int, headers: Mapping[str, str]) -> bytes:
        """Of a request with a body of so many bytes. `headers`: none that a client could give a line end."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"{self._opening}{lines}content-length: {length}\r\n\r\n".encode()
        if {head.count(b"\n"), head.count(b"\r")} != {len(headers) + 4}:
            raise ValueError("a header with a line end")
        return head

    def answer(self) -> aiohttp.ClientResponse:
        """What is yet to come for a request that was written."""
        return aiohttp.ClientResponse(
            self.method, self.url, writer=None, continue100=None, timer=self._timer, request_info=self._info, traces=[],
            loop=self.loop, session=self._session, stream_writer=_WRITTEN,
        )  # fmt: skip


class Engine:
    """Use as an async context manager: it holds the connection pool."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self.route = Route(URL(settings.engine_url), self._led_elsewhere)
        self.retries = Retries(settings, metrics)
        self._resources: dict[URL, Resource] = {}
        self._catalog = Catalog()
        self._catalog_due = 0.0
        self._catalog_lock = asyncio.Lock()
        self._probe_lock = asyncio.Lock()
        self._probed = -_PROBE_PAUSE
        self._verdict: str | None = None
        self._last_token = float("-inf")

    async def __aenter__(self) -> "Engine":
        self._connector = _Connector(limit=0, keepalive_timeout=_KEEPALIVE)  # the engine queues, not the pool
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=self._settings.connect_timeout,
                sock_read=self._settings.engine_timeout,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),  # no headers but ours
            auto_decompress=False,
            read_bufsize=_READ_AHEAD,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(self, path: str, body: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """The engine's answer to a POST, its head read and its body not. Raises what `problem_of` explains."""
        target = await self.route.take()
        target.begin()
        try:
            answer = await self._post(target.url(path), body, headers)
        except BaseException:
            target.end()
            raise
        if (connection := answer.connection) is None:  # all of it has come
            target.end()
        else:
            connection.add_callback(target.end)  # when the last byte has come, or nobody wants it any more
        return answer

    async def _post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """What is left of ClientSession.post without cookies, redirects, proxies, traces, and a limit of time for all;
        and, since the body is at hand, without a request's object and a task that writes it. Both together were a
        fifth of our time to the first byte."""
        if (resource := self._resources.get(url)) is None:
            resource = self._resources[url] = Resource("POST", url, session=self._session)
        head, answer = resource.head(len(body), headers), resource.answer()
        try:
            connection = await self._connector.connect(resource, traces=[], timeout=self._session.timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection to {url}") from error
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            connection.close()
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=self._settings.engine_timeout,
            read_bufsize=_READ_AHEAD,
        )
        transport.writelines((head, body))
        protocol.start_timeout()
        try:
            return await answer.start(connection)
        except BaseException:
            answer.close()
            raise

    def failed(self, error: BaseException, what: str) -> Problem:
        """Count and log a failed exchange, take it as a sign against readiness; returns what to tell the client.

        `what`: the id of the client's request, or what else was asked.
        """
        problem = problem_of(error)
        self._metrics.engine_errors.labels(problem.code).inc()
        self._last_token = float("-inf")
        detail = f": {error}" if isinstance(error, OSError) else ""  # a protocol error would quote the answer
        log.warning("%s: %s (%s%s)", what, problem.code, type(error).__name__, detail)
        return problem

    def _led_elsewhere(self) -> None:
        """What is known of one engine says nothing about another."""
        self._catalog_due = 0.0
        self._last_token, self._verdict = float("-inf"), None
        self._resources.clear()
        self._connector.clear_dns_cache()

    def produced_token(self) -> None:
        """Called for whatever of an answer has arrived: the best proof of readiness, and it costs nothing."""
        self._last_token = time.monotonic()

    async def catalog(self) -> Catalog:
        """What the engine serves, at most half a minute old. Raises Problem 502, 503 or 504 when it never told."""
        if time.monotonic() < self._catalog_due:
            return self._catalog
        if self._catalog_due and (self._catalog_lock.locked() or self.route.closed):
            return self._catalog  # one request asks for a new one, the others do not wait; or none can be asked
        async with self._catalog_lock:
            if time.monotonic() < self._catalog_due:
                return self._catalog
            url = (await self.route.take()).url("/v1/models")
            try:
                async with asyncio.timeout(_SMALL_TIMEOUT):
                    async with self._session.get(url, allow_redirects=False) as answer:
                        body = await answer.read()
                        if answer.status >= 500:
                            raise ConnectionError(f"/v1/models answered {answer.status}")
            except (aiohttp.ClientError, OSError) as error:
                problem = self.failed(error, "catalog")
                if not self._catalog_due:
                    raise problem from None
                self._catalog_due = time.monotonic() + _PROBE_PAUSE  # better an old catalog than none
            else:
                self._catalog = Catalog.parse(body)
                self._catalog_due = time.monotonic() + _CATALOG_AGE
            return self._catalog

    async def why_not_ready(self) -> str | None:
        """None when the engine has produced a token lately, else the reason. Asks for a token when none came of late.

        An engine that hangs still answers its own health check with 200, so nothing less than a token counts.
        """
        if self.route.closed:
            return "The engine is being exchanged: requests wait for the new one."
        async with self._probe_lock:
            if time.monotonic() - self._last_token < self._settings.ready_within:
                return None
            if self._verdict is None or time.monotonic() - self._probed >= _PROBE_PAUSE:
                self._verdict = await self._probe()
                self._probed = time.monotonic()
            return self._verdict

    async def _probe(self) -> str | None:
        body = {"prompt": "1", "max_tokens": 1}
        try:
            async with asyncio.timeout(self._settings.ready_timeout):
                if names := (await self.catalog()).names:
                    body["model"] = names[0]
                async with await self.ask(
                    COMPLETIONS.path, orjson.dumps(body), {"content-type": "application/json"}
                ) as answer:
                    status, content = answer.status, await answer.read()
        except (aiohttp.ClientError, OSError, Problem) as error:
            return self.failed(error, "readiness").message
        try:
            tokens = orjson.loads(content)["usage"]["completion_tokens"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            tokens = 0
        if status != 200 or not isinstance(tokens, int) or tokens < 1:
            return f"The engine answered {status} without a token."
        self.produced_token()
        return None
