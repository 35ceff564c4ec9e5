"""An engine made of a socket: it speaks HTTP/1.1 and server-sent events, and misbehaves on request.

It works below HTTP on purpose: a server library would not let an answer break off in the middle of a chunk.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

NAMES = ("hearth-tiny", "qwen3-4b-gptq")
CONTEXT = 4096
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


@dataclass
class Exchange:
    """One request, and the means to answer it."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    writer: asyncio.StreamWriter
    aborted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the connection closed before the answer was complete."""

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes, status: int = 200, kind: str = "application/json", more: str = "") -> None:
        head = f"HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
        await self.send(head.encode() + body)

    async def start_stream(self) -> None:
        await self.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
        )

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end_stream(self) -> None:
        await self.send(b"0\r\n\r\n")

    def cut(self) -> None:
        """Break the connection off."""
        self.writer.transport.abort()


Script = Callable[[Exchange], Awaitable[None]]


def completion(text: str = "Red, green.", finish: str = "stop") -> bytes:
    """As the real engine writes it: spaces, nulls and all."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "model": NAMES[0], "choices": [choice],
                       "usage": USAGE, "kv_transfer_params": None}).encode()  # fmt: skip


def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": NAMES[0]}
    chunk = json.dumps(head | {"choices": [choice]}, ensure_ascii=False, separators=(",", ":"))  # as the engine does
    return b"data: " + chunk.encode() + b"\n\n"


EVENTS = [
    event({"role": "assistant", "content": ""}),
    event({"content": "Red, "}),
    event({"content": "grün"}),
    event({"content": "."}, "stop"),
    b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n",
    b"data: [DONE]\n\n",
]


async def well_behaved(exchange: Exchange) -> None:
    if not exchange.body.get("stream"):
        await exchange.answer(completion())
        return
    await exchange.start_stream()
    for data in EVENTS:
        await exchange.chunk(data)
        await asyncio.sleep(0.002)
    await exchange.end_stream()


async def list_models(exchange: Exchange) -> None:
    cards = [{"id": name, "object": "model", "created": 1, "owned_by": "vllm", "root": "/models/secret-path",
              "max_model_len": CONTEXT, "permission": [{}]} for name in NAMES]  # fmt: skip
    await exchange.answer(json.dumps({"object": "list", "data": cards}).encode())


class FakeEngine:
    """`completes` and `lists` are the scripts for POST and GET; `exchanges` holds what was asked, in order."""

    def __init__(self) -> None:
        self.completes: Script = well_behaved
        self.lists: Script = list_models
        self.exchanges: list[Exchange] = []
        self.was_asked = asyncio.Event()  # for a completion
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def asked(self) -> Exchange:
        """The last request for a completion."""
        return [exchange for exchange in self.exchanges if exchange.method == "POST"][-1]

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                start, *lines = head.decode("latin-1").rstrip().split("\r\n")
                method, path, _ = start.split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                raw = await reader.readexactly(int(headers.get("content-length", 0)))
                exchange = Exchange(method, path, headers, raw, writer)
                self.exchanges.append(exchange)
                if method == "POST":
                    self.was_asked.set()
                script = self.lists if method == "GET" else self.completes
                await self._play(script, exchange, reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _play(self, script: Script, exchange: Exchange, reader: asyncio.StreamReader) -> None:
        """Run the script, unless the other side hangs up first."""
        playing = asyncio.ensure_future(script(exchange))
        hung_up = asyncio.ensure_future(reader.read(1))  # the gateway never pipelines: a byte here is the end
        try:
            await asyncio.wait({playing, hung_up}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                exchange.aborted.set()
                raise ConnectionError
            playing.result()
        finally:
            playing.cancel()
            hung_up.cancel()
            await asyncio.gather(playing, hung_up, return_exceptions=True)
