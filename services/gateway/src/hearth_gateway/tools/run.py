"""The driver of the tool loop: asks the engine, calls the tools, and lets an answer hear of it."""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
import orjson

from hearth_gateway.admission import BYTES_OF_A_TOKEN, Slot
from hearth_gateway.errors import Problem, has_error_shape
from hearth_gateway.logs import log_body
from hearth_gateway.replay import Recording
from hearth_gateway.request import CHAT, dump
from hearth_gateway.retry import Attempts, Lost, in_transit
from hearth_gateway.services import Services
from hearth_gateway.tools.answer import Answer
from hearth_gateway.tools.hermes import CallFilter
from hearth_gateway.tools.loop import CallModel, CallTools, Finish, Loop
from hearth_gateway.tools.plain import PlainText
from hearth_gateway.tools.turn import TurnBuilder, parse
from hearth_gateway.tools.types import PreparedCall, Result, Turn

_LONGEST_EVENT = 2**24
_DATA = len(b"data: ")
_DONE = b"data: [DONE]\n\n"


class Run:
    """One request's way through its loop."""

    def __init__(
        self,
        services: Services,
        loop: Loop,
        headers: Mapping[str, str],
        recording: Recording,
        user: str,
        answer: Answer,
    ) -> None:
        """`headers`: of the requests to the engine. `answer`: hears what happens; the end is the caller's to tell."""
        self._services, self._loop, self._headers = services, loop, headers
        self._recording, self._user, self._answer = recording, user, answer
        self._rounds = 0
        self._hears = False  # something of the engine's present answer

    async def to_end(self) -> Finish:
        """Raises Problem when the engine fails."""
        loop, clock = self._loop, asyncio.get_running_loop().time
        loop.time_is(clock())
        while not isinstance(action := loop.action(), Finish):
            try:
                async with asyncio.timeout_at(loop.deadline):
                    if isinstance(action, CallModel):
                        turn = await self._call_model(action)
                    else:
                        results = await self._call_tools(action)
            except TimeoutError:
                assert loop.deadline is not None
                loop.time_is(max(clock(), loop.deadline))
                continue
            if isinstance(action, CallModel):
                loop.model_said(turn)
            else:
                loop.tools_returned(results)
            loop.time_is(clock())
        self._services.metrics.loop_rounds.labels(action.why).observe(self._rounds)
        return action

    # The model

    async def _call_model(self, action: CallModel) -> Turn:
        services, stream = self._services, self._answer.streams and not action.retry
        flow = {"stream": True, "stream_options": {"include_usage": True}} if stream else {"stream": False}
        body = dump(action.body | flow)
        again, self._rounds = self._rounds > 0, self._rounds + 1
        async with services.admission.slot(self._user, again=again) as slot:
            if services.batcher and not again:
                await services.batcher.hold()
            if services.settings.log_requests == "bodies":
                log_body(body)
            attempts, turn = services.engine.retries.begin(), None
            while turn is None:
                self._hears = False
                try:
                    turn = await self._exchange(action, body, slot, attempts)
                except Lost as lost:
                    if self._hears:
                        raise
                    await attempts.again(lost)
            slot.tokens = turn.usage.total_tokens or slot.tokens
        services.metrics.tokens.inc(turn.usage.completion_tokens)
        return turn

    async def _exchange(self, action: CallModel, body: bytes, slot: Slot, attempts: Attempts) -> Turn:
        services = self._services
        with self._recording.asked(CHAT.path, body) as record, services.traces.engine(CHAT.path) as span:
            try:
                asked = await services.engine.ask(CHAT.path, body, {**self._headers, **span.headers()})
                try:
                    record.answered(asked.status, media_type := asked.content_type)
                    heard = record.part
                    if services.settings.tokens_per_minute and asked.status < 400:
                        # Until the answer tells at its end, which a client need not wait for.
                        slot.tokens = len(body) // BYTES_OF_A_TOKEN
                        heard = functools.partial(_count, slot, record.part)
                    if media_type == "text/event-stream":
                        turn = await self._read_stream(asked, action, heard)
                    else:
                        data = await asked.read()
                        record.part(data)
                        if (lost := in_transit(asked.status, data)) and attempts.left(lost):
                            raise lost
                        turn = await self._read_whole(asked.status, data, action)
                    record.complete()
                finally:
                    if not asked.closed:
                        asked.close()  # before the last byte, this is what cancels the engine's work
            except (aiohttp.ClientError, OSError) as error:
                raise services.engine.failed(error, self._headers["x-request-id"]) from None
            span.set("gen_ai.usage.output_tokens", turn.usage.completion_tokens)
        return turn

    async def _read_whole(self, status: int, data: bytes, action: CallModel) -> Turn:
        if status >= 400:
            if action.retry and status < 500:
                return Turn("")  # the call could not be written again: it fails, and not the conversation
            if status >= 500:
                self._services.metrics.engine_errors.labels("engine_error").inc()
            raise _refusal(status, data)
        self._services.engine.produced_token()
        try:
            return parse(orjson.loads(data))
        except ValueError as error:
            raise Problem(502, f"{error}.", code="engine_broken") from None

    async def _read_stream(self, asked: aiohttp.ClientResponse, action: CallModel, record: Any) -> Turn:
        """Most answers are text and no more: their events are passed on as they came."""
        answer, turn, calls = self._answer, TurnBuilder(), CallFilter() if action.recover else None
        lead, held, plain, done = action.lead, b"", PlainText() if self._rounds == 1 else None, False
        while chunk := await asked.content.readany():
            self._hears = True
            record(chunk)
            self._services.engine.produced_token()
            if held:
                chunk = held + chunk
            end = _after(b"\n\n", chunk)
            events, held = chunk[:end], chunk[end:]
            if len(held) > _LONGEST_EVENT:
                raise Problem(502, "The engine's answer has an event without an end.", code="engine_broken")
            done = events.endswith(_DONE)
            if plain and answer.passes_on and not (calls and calls.holds):
                size, text = plain.read(events)
                if size:
                    turn.say(text)
                    answer.pass_on(events[:size])
                    events = events[size:]
            for data in _read(events) if events else ():
                text = turn.add(data)
                if text and calls:
                    text = calls.feed(text)
                answer.add(data, text, lead)
                lead = "" if text else lead
            if not done:  # what comes of it is sent with it
                await answer.flush()
        if not done:
            raise aiohttp.ClientPayloadError("it ended without [DONE]")  # cut, however politely
        if calls and (text := calls.end()):
            answer.add({}, text, lead)
            await answer.flush()
        return turn.turn()

    # The tools

    async def _call_tools(self, action: CallTools) -> Sequence[Result]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._call_tool(prepared)) for prepared in action.calls]
        results = [task.result() for task in tasks]
        for prepared, result in zip(action.calls, results, strict=True):  # in the order of the calls: a log to compare
            self._recording.tool(prepared, result)
        return results

    async def _call_tool(self, prepared: PreparedCall) -> Result:
        assert self._services.hub is not None  # there is nothing to call without one
        tool, answer = prepared.tool, self._answer
        await answer.started(prepared)
        with self._services.traces.tool(tool.server, tool.name, prepared.call.id) as span:
            result = await self._services.hub.call(
                prepared, user=self._user, progress=functools.partial(answer.progress, prepared)
            )
            if result.is_error:
                span.failed("tool_error")
        await answer.finished(prepared, result)
        return result


def _count(slot: Slot, record: Callable[[bytes], None], chunk: bytes) -> None:
    slot.tokens += chunk.count(b"data: ")
    record(chunk)


def _after(mark: bytes, data: bytes) -> int:
    """Where the last `mark` ends; 0 without one."""
    at = data.rfind(mark)
    return 0 if at < 0 else at + len(mark)


def _read(events: bytes) -> list[dict[str, Any]]:
    """The data of whole events. Raises Problem 502."""
    found = [part[_DATA:] for part in events.split(b"\n\n") if part.startswith(b"data: ")]
    if found and found[-1] == b"[DONE]":
        found.pop()
    try:
        read: list[dict[str, Any]] = orjson.loads(b"[" + b",".join(found) + b"]")
        if len(read) != len(found):  # an event without anything, or with two things
            raise ValueError
    except ValueError:
        raise Problem(502, "The engine's answer broke off or was not JSON.", code="engine_broken") from None
    for data, raw in zip(read, found, strict=True):
        if not isinstance(data, dict) or "error" in data:
            raise _refusal(502, raw)
    return read


def _refusal(status: int, data: bytes) -> Problem:
    """The engine's own words, where it has any."""
    if has_error_shape(data):
        error = orjson.loads(data)["error"]
        code = error.get("code")
        return Problem(
            status, error["message"], code=code if isinstance(code, str) else "engine_error", param=error.get("param")
        )
    return Problem(status, f"The engine answered {status}.", code="engine_error")
