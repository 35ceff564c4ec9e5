"""What a client hears of a loop, and how much of it waits for one that does not read."""

import asyncio

from starlette.types import Message

from hearth_gateway.tools.answer import Stream
from hearth_gateway.tools.types import Call, PreparedCall, Result, Tool

TOOL = Tool("t_chatter", "t", "chatter", "", {"type": "object"})
CALL = PreparedCall(Call("1", "t_chatter", "{}"), TOOL, {})


async def test_progress_that_a_slow_client_does_not_take_is_left_out() -> None:
    reads, sent = asyncio.Event(), list[Message]()

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            await reads.wait()

    stream = Stream(send, "1", "m", usage=False, events=False)
    starting = asyncio.create_task(stream.started(CALL))
    await asyncio.sleep(0)
    async with asyncio.TaskGroup() as group:  # as the MCP SDK does: a task for each notification
        for step in range(1000):
            group.create_task(stream.progress(CALL, step, 1000, "and so on"))
    finishing = asyncio.create_task(stream.finished(CALL, Result("1", "done")))
    await asyncio.sleep(0)
    reads.set()
    await asyncio.gather(starting, finishing)
    await stream.progress(CALL, 1000, 1000, "it reads again")
    text = b"".join(message.get("body", b"") for message in sent).decode()
    assert [text.count(f'"tool.{what}"') for what in ("started", "progress", "finished")] == [1, 1, 1]
