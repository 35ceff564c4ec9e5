"""Calls that the engine left in the text, as `<tool_call>{"name": …, "arguments": …}</tool_call>`.

The engine leaves all of an answer's calls there when it cannot parse one of them: cut JSON, a missing brace, a tag
within a string. The text around the calls is the answer; a block without a legible name is text too.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field

from hearth_gateway.tools.types import Call

_START, _END = "<tool_call>", "</tool_call>"
_TAG = re.compile(r"</?tool_call>")
_QUOTES = re.compile(r'\\.|"', re.DOTALL)  # and what is escaped, which is none
_NAMED = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)+")\s*(?:,\s*"arguments"\s*:\s*(.*))?', re.DOTALL)


def recover(content: str) -> tuple[str, tuple[Call, ...]]:
    """`content` without its calls, and the calls."""
    if _START not in content:
        return content, ()
    text = CallFilter()
    shown = text.feed(content) + text.end()
    return shown, tuple(text.calls)


@dataclass(slots=True)
class CallFilter:
    """The same for text that comes in pieces: what has been shown at the end is what `recover` says of the whole.

    What may be a call is held back until it is known; `calls` has those found so far.
    """

    calls: list[Call] = field(default_factory=list)
    _held: str = ""
    _looked: int = len(_START)  # how far the held block has been searched for its end
    _counted: int = len(_START)  # how far its quotes have been counted
    _in_string: bool = False  # there
    _doubtful: tuple[int, int] | None = None  # the first tag in it that seems to stand within a string
    _after_call: bool = False  # white space after a call belongs to it

    @property
    def holds(self) -> bool:
        """Whether what comes next may belong to a call. When not, text without a `<` need not be fed."""
        return bool(self._held) or self._after_call

    def feed(self, delta: str) -> str:
        """What can be shown now."""
        self._held += delta
        return self._read(ended=False)

    def end(self) -> str:
        """What is left to show: nothing more comes."""
        return self._read(ended=True)

    def _read(self, ended: bool) -> str:
        shown = []
        while self._held:
            if self._after_call:
                self._held = self._held.lstrip()
                self._after_call = not self._held
            if not self._held.startswith(_START):
                cut = self._held.find(_START)
                if cut < 0:
                    cut = len(self._held) - (0 if ended else _overlap(self._held, _START))
                shown.append(self._held[:cut])
                self._held = self._held[cut:]
                if not self._held.startswith(_START):
                    break
            if (bounds := self._block(ended)) is None:
                break
            inner, after = bounds
            block, self._held = self._held[:after], self._held[after:]
            self._looked = self._counted = len(_START)
            self._in_string, self._doubtful = False, None
            if call := _parse(block[len(_START) : inner]):
                self.calls.append(call)
                self._after_call = True
            else:
                shown.append(block)
        return "".join(shown)

    def _block(self, ended: bool) -> tuple[int, int] | None:
        """Where the held block's JSON ends and where the text goes on, or None when that is not known yet.

        A tag within a JSON string is data, a file that speaks of tags for example. So a tag counts when no string is
        open before it; when the JSON then is broken, the open string was the mistake, and the first tag counts.
        """
        while tag := _TAG.search(self._held, self._looked):
            quotes = sum(found == '"' for found in _QUOTES.findall(self._held, self._counted, tag.start()))
            self._in_string ^= quotes % 2 == 1
            self._looked = self._counted = tag.end()
            # The next call's start begins the next block, the end's tag is part of this one.
            bounds = (tag.start(), tag.end() if tag[0] == _END else tag.start())
            if self._in_string:
                self._doubtful = self._doubtful or bounds
            elif self._doubtful and not _is_json(self._held[len(_START) : tag.start()]):
                return self._doubtful
            else:
                return bounds
        self._looked = max(self._looked, len(self._held) - len(_END))  # a tag may be there in part
        if not ended:
            return None
        if self._doubtful and not _is_json(self._held[len(_START) :]):
            return self._doubtful
        return len(self._held) - _overlap(self._held, _END), len(self._held)


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` may be the beginning of `tag`."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:size])), 0)


def _parse(block: str) -> Call | None:
    """The call that a block's inside is. Its arguments may be broken: whoever checks them says so to the model."""
    try:
        data = json.loads(block, strict=False)
        name, arguments = data["name"], data.get("arguments", "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        if not (match := _NAMED.match(block)):
            return None
        try:
            name, arguments = json.loads(match[1]), (match[2] or "").rstrip()
        except ValueError:
            return None
    if not isinstance(name, str) or not name or not name.isprintable():
        return None
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    arguments = arguments.encode(errors="replace").decode()  # half of a surrogate pair cannot be sent on
    # The same text has the same id, so that a conversation is the same bytes when it is played again.
    return Call(f"call_{hashlib.sha256(block.encode()).hexdigest()[:24]}", name, arguments)


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True
