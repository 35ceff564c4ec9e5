"""Clients that stream chats one after another, and what each of them saw."""

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

import requests

from .conftest import MODEL, Scale

WORDS = "Tell me more about the sea, the hills, the towns and the people of the country number {}."


class End(StrEnum):
    WHOLE = "whole"
    CUT = "cut"
    """After its first byte, with a proper error event that has the request's id."""
    REFUSED = "refused"
    """Before its first byte: a status that is no 200, or a connection that failed."""
    MALFORMED = "malformed"


@dataclass
class Seen:
    began: float
    ended: float
    end: End
    first: float | None = None
    """When its first event came."""
    detail: str = ""


class Load:
    """Use as a context manager: `clients` clients, at one gateway or in turn at several, until the block ends."""

    def __init__(self, scale: Scale, clients: int = 6, tokens: int = 16, gateways: tuple[int, ...] = (0,)) -> None:
        self._urls = [f"{scale.urls[index]}/v1/chat/completions" for index in gateways]
        self._clients, self._tokens = clients, tokens
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.seen: list[Seen] = []
        self._begun: set[int] = set()  # the threads whose answers have begun and not ended

    def __enter__(self) -> "Load":
        self._threads = [threading.Thread(target=self._client, args=(number,)) for number in range(self._clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(180)
            assert not thread.is_alive(), "a client waits without end"

    @property
    def streaming(self) -> int:
        return len(self._begun)

    @property
    def counted(self) -> Counter[End]:
        return Counter(seen.end for seen in self.seen)

    def after(self, moment: float) -> int:
        """How many answers came whole that were asked for after a moment."""
        return sum(seen.end is End.WHOLE and seen.began > moment for seen in list(self.seen))

    def gap(self, since: float = 0, until: float = float("inf")) -> float:
        """The longest time without a first event anywhere, in seconds."""
        first = sorted(s.first for s in self.seen if s.first and since < s.first < until)
        none = until - since if since else 0  # nothing came at all
        return max((after - before for before, after in pairwise([since, *first] if since else first)), default=none)

    def wait(self, since: float = 0, until: float = float("inf")) -> float:
        """The longest that one client waited for its first event, of those that ended then, in seconds."""
        return max((s.first - s.began for s in self.seen if s.first and since < s.ended < until), default=0)

    def problems(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.end in (End.REFUSED, End.MALFORMED)]

    def _client(self, number: int) -> None:
        with requests.Session() as session:
            count = 0
            while not self._stop.is_set():
                count += 1
                began = time.monotonic()
                seen = self._ask(session, self._urls[count % len(self._urls)], f"{number}-{count}", began)
                self.seen.append(seen)
                if seen.end is End.REFUSED:
                    time.sleep(0.1)

    def _ask(self, session: requests.Session, url: str, name: str, began: float) -> Seen:
        body = {
            "model": MODEL, "stream": True, "max_tokens": self._tokens, "ignore_eos": True, "temperature": 0.5,
            "messages": [{"role": "user", "content": WORDS.format(name)}],
        }  # fmt: skip
        first: float | None = None
        last = ""
        try:
            with session.post(url, json=body, stream=True, timeout=120) as answer:
                if answer.status_code != 200:
                    return Seen(began, time.monotonic(), End.REFUSED, detail=f"{answer.status_code} {answer.text}")
                id = answer.headers["x-request-id"]
                for line in answer.iter_lines():
                    if line:
                        if first is None:
                            first = time.monotonic()
                            self._begun.add(threading.get_ident())
                        last = line.decode()
        except requests.RequestException as error:
            end = End.REFUSED if first is None else End.MALFORMED
            return Seen(began, time.monotonic(), end, first, repr(error))
        finally:
            self._begun.discard(threading.get_ident())
        return Seen(began, time.monotonic(), _end(last, id), first, last)


def _end(last: str, request_id: str) -> End:
    if last == "data: [DONE]":
        return End.WHOLE
    try:
        error: dict[str, Any] = json.loads(last.removeprefix("data: "))["error"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return End.MALFORMED
    proper = error.keys() >= {"message", "type", "param", "code"} and error.get("request_id") == request_id
    return End.CUT if proper else End.MALFORMED
