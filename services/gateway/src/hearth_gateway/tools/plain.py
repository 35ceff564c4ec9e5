"""The part of a stream that is text and nothing else, told by its bytes.

Most of an answer is: one event after another, all the same but for the text. Whoever reads and writes each of them as
JSON spends as much as on all the rest of its way.
"""

import re

import orjson

_EVENT = re.compile(
    rb'(?P<before>data: \{[^\n]*?"delta":\{)(?P<role>"role":"assistant",)?(?P<content>"content":")'
    rb'(?P<text>(?:[^"\\\n]|\\.)*)(?P<after>"\}(?:,"logprobs":null)?,"finish_reason":null[^\n]*\n\n)'
)


class PlainText:
    """Reads one stream. What stands around the text is learned from one event; the others are cut there.

    Nothing else can be taken for text: the bytes around it have quotes and line ends, and within JSON's strings those
    would be escaped.
    """

    __slots__ = ("_after", "_before")

    def __init__(self) -> None:
        self._before = self._after = b""

    def read(self, events: bytes) -> tuple[int, str]:
        """How many of these whole events' bytes, from the first one on, are text that goes on; and that text. It has
        no `<`, and so no part of a call. What looks otherwise than the engine's compact JSON is left to others."""
        end = events.find(b"<")
        end = len(events) if end < 0 else events.rfind(b"\n\n", 0, end) + 2
        begin, texts = 0, list[bytes]()
        if not self._before or not events.startswith(self._before):
            if not (event := _EVENT.match(events, 0, end)):
                return 0, ""
            self._before, self._after = event["before"] + event["content"], event["after"]
            begin, texts = event.end(), [event["text"]]  # its own beginning may also have the role
        if events.startswith(self._before, begin) and (last := events.rfind(self._after, begin, end)) >= 0:
            texts += events[begin + len(self._before) : last].split(self._after + self._before)
            begin = last + len(self._after)
        try:
            text: str = orjson.loads(b'"' + b"".join(texts) + b'"')
        except orjson.JSONDecodeError:
            return 0, ""  # something else is between them
        return (begin, text) if "<" not in text else (0, "")  # it may have been written as an escape
