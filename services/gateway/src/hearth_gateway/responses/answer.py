"""What the client hears of a loop on /v1/responses: items, and events that tell of them in OpenAI's order.

The events and the whole object come from one place: where the client wants no stream, nothing but the end is sent.
"""

import time
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Send

from hearth_gateway.errors import Problem
from hearth_gateway.responses.request import approval_request
from hearth_gateway.tools.answer import EventStream
from hearth_gateway.tools.carry import FIELD
from hearth_gateway.tools.loop import Finish
from hearth_gateway.tools.types import Call, PreparedCall, Result, Usage

_ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "user": None,
}
_ERRORS = {429: "rate_limit_exceeded"}


def envelope(given: Mapping[str, Any], id: str, model: str) -> dict[str, Any]:
    """A response to the request `given`, before anything was said."""
    echoed = {name: default if given.get(name) is None else given[name] for name, default in _ECHOED.items()}
    return {
        "id": id,
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "truncation": "disabled",
        "usage": None,
        **echoed,
    }


class ResponseStream(EventStream):
    def __init__(self, send: Send, response: dict[str, Any]) -> None:
        super().__init__(send)
        self._response = response
        self._output: list[dict[str, Any]] = response["output"]
        self._number = 0
        self._text: list[str] = []
        self._message: int | None = None  # the place of the message that is being written
        self._running: dict[str, int] = {}  # the places of our calls that run, by their ids
        self._tell("response.created", response=response)
        self._tell("response.in_progress", response=response)

    # What the driver tells

    def add(self, chunk: dict[str, Any], text: str, lead: str) -> None:
        if text:
            self._say(text if self._message is None else lead + text)

    async def started(self, prepared: PreparedCall) -> None:
        self._close_message("completed")
        tool, call = prepared.tool, prepared.call
        item = {
            "id": self._id("mcp"),
            "type": "mcp_call",
            "status": "in_progress",
            "server_label": tool.server,
            "name": tool.name,
            "arguments": "",
            "output": None,
            "error": None,
            "approval_request_id": None,
        }
        self._running[call.id] = place = self._open(item)
        self._tell_of(place, "response.mcp_call.in_progress")
        item["arguments"] = call.arguments
        self._tell_of(place, "response.mcp_call_arguments.delta", delta=call.arguments)
        self._tell_of(place, "response.mcp_call_arguments.done", arguments=call.arguments)
        await self.flush_in_turn()

    async def finished(self, prepared: PreparedCall, result: Result) -> None:
        place = self._running.pop(prepared.call.id)
        if result.is_error:
            text = {"type": "text", "text": result.text}
            self._output[place]["error"] = {"type": "mcp_tool_execution_error", "content": [text]}
        else:
            self._output[place]["output"] = result.text
        self._close_call(place, "failed" if result.is_error else "completed")
        await self.flush_in_turn()

    # The end

    def end(self, finish: Finish) -> dict[str, Any]:
        """The response, complete. `finish` has yet to be sent."""
        cut = None
        if finish.why not in ("answer", "client_tools", "approval") or finish.finish_reason == "length":
            cut = "max_output_tokens"  # the nearest of the reasons that clients know
        elif finish.finish_reason == "content_filter":
            cut = "content_filter"
        status = "incomplete" if cut else "completed"
        for place in self._running.values():
            self._close_call(place, "incomplete")
        if finish.notice and not finish.approval:
            self._say(finish.notice if self._message is not None else finish.notice.lstrip())
        carried = {FIELD: {"carry": list(finish.carry)}} if finish.carry else {}
        if not finish.calls and not finish.approval:  # there is one message at least, which has what is carried
            self._say("")
            self._output[-1] |= carried
        self._close_message(status)
        for call in finish.calls:
            self._add_call(call, carried if call is finish.calls[-1] else {})
        if finish.approval:
            for question in finish.approval.calls:
                self._done(self._open(approval_request(finish.approval.token, question)))
        self._response["usage"] = _usage(finish.usage)
        if cut:
            self._response["incomplete_details"] = {"reason": cut}
            if finish.why not in ("answer", "client_tools"):
                self._response[FIELD] = {"finish": finish.why}
        else:
            self._response["completed_at"] = int(time.time())
        self._response["status"] = status
        return self._response

    async def finish(self) -> None:
        """Send the end."""
        self._tell(f"response.{self._response['status']}", response=self._response)
        await self._end()

    async def failed(self, problem: Problem, request_id: str) -> None:
        code = _ERRORS.get(problem.status, "server_error" if problem.status >= 500 else "invalid_prompt")
        message = f"{problem.message} (request {request_id})"  # this object has no field for it
        self._response |= {"status": "failed", "error": {"code": code, "message": message}}
        self._tell("response.failed", response=self._response)
        await self._end()

    # Items

    def _id(self, kind: str) -> str:
        return f"{kind}_{self._response['id'].removeprefix('resp_')}{len(self._output):04x}"

    def _open(self, item: dict[str, Any]) -> int:
        place = len(self._output)
        self._output.append(item)
        self._tell("response.output_item.added", output_index=place, item=item)
        return place

    def _done(self, place: int) -> None:
        self._tell("response.output_item.done", output_index=place, item=self._output[place])

    def _say(self, text: str) -> None:
        if self._message is None:
            message = {"id": self._id("msg"), "type": "message", "status": "in_progress", "role": "assistant"}
            self._message = self._open(message | {"content": []})
            self._tell_of(self._message, "response.content_part.added", content_index=0, part=_part(""))
        if text:
            self._text.append(text)
            self._tell_of(self._message, "response.output_text.delta", content_index=0, delta=text, logprobs=[])

    def _close_message(self, status: str) -> None:
        if (place := self._message) is None:
            return
        text = "".join(self._text)
        self._message, self._text = None, []
        self._tell_of(place, "response.output_text.done", content_index=0, text=text, logprobs=[])
        self._tell_of(place, "response.content_part.done", content_index=0, part=_part(text))
        self._output[place] |= {"status": status, "content": [_part(text)]}
        self._done(place)

    def _close_call(self, place: int, status: str) -> None:
        self._output[place]["status"] = status
        self._tell_of(place, f"response.mcp_call.{'completed' if status == 'completed' else 'failed'}")
        self._done(place)

    def _add_call(self, call: Call, carried: dict[str, Any]) -> None:
        item = {"id": self._id("fc"), "type": "function_call", "status": "in_progress", "call_id": call.id}
        item |= {"name": call.name, "arguments": ""}
        place = self._open(item)
        self._tell_of(place, "response.function_call_arguments.delta", delta=call.arguments)
        self._tell_of(place, "response.function_call_arguments.done", name=call.name, arguments=call.arguments)
        self._output[place] |= {"status": "completed", "arguments": call.arguments, **carried}
        self._done(place)

    # Events

    def _tell_of(self, place: int, kind: str, **fields: Any) -> None:
        self._tell(kind, item_id=self._output[place]["id"], output_index=place, **fields)

    def _tell(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "sequence_number": self._number} | fields
        self._number += 1
        self._waiting.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(event)))


class WholeResponse(ResponseStream):
    """The engine streams here too: so it is known what was said before which call."""

    async def flush(self) -> None:
        pass

    async def finish(self) -> None:
        await self._json(self._response)

    def _tell(self, kind: str, **fields: Any) -> None:
        pass


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }
