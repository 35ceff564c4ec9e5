"""Which conversation a request belongs to: an id that all its turns share, and no others as far as that can be known.

A router in front of several engines keeps such an id with one of them, whose cache then has the prompt's beginning. The
client may name its conversation; otherwise the id is made of what stays the same from turn to turn: what stands before
the model's first answer. No secret goes into it, and neither do names of users or texts as they are: it is a digest,
apart for each API key's name, so that many users who begin alike are spread.
"""

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

HEADER = b"x-session-id"

_GIVEN = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_FIELDS = ("prompt_cache_key", "user")
_LEADING = frozenset({"system", "developer"})
_MOST_TEXT = 16_384
"""Characters of a message that count. Reading more of a long document would cost time and tell no more apart."""
_MOST_PROMPT = 512
"""Characters of a raw prompt that count: nothing in it says where its first turn ends. A conversation whose prompts are
still shorter may move to another engine with each turn, and there is little to compute again."""


def session_id(header: bytes | None, given: Mapping[str, Any], messages: Any, key: str) -> str:
    """`header`: the client's own `X-Session-ID`, which stands if it is 1 to 128 letters, digits, `.`, `_`, `:` or `-`.
    `given`: the request, whose `prompt_cache_key` or `user` comes next. `messages`: of the whole conversation; anything
    but a list means the `prompt` in `given`. `key`: the name of the API key, never the key."""
    if header and _GIVEN.fullmatch(header):
        return header.decode()
    digest = blake2b(key.encode(), digest_size=16)
    for field in _FIELDS:
        if isinstance(named := given.get(field), str) and named:
            _add(digest, field, named[:_MOST_TEXT])
            return digest.hexdigest()
    if not isinstance(messages, list):
        prompt = given.get("prompt")
        prompt = prompt[0] if isinstance(prompt, list) and prompt else prompt
        _add(digest, "prompt", prompt[:_MOST_PROMPT] if isinstance(prompt, str) else "")
        return digest.hexdigest()
    for message in messages:
        if not isinstance(message, dict):
            break
        role = message.get("role")
        leading = role in _LEADING if isinstance(role, str) else False
        _add(digest, "system" if leading else "user", _text(message.get("content")))
        if not leading:
            break
    return digest.hexdigest()


def _add(digest: blake2b, what: str, text: str) -> None:
    """With its length, so that a boundary cannot be moved."""
    digest.update(b"\0%b %d " % (what.encode(), len(text)) + text.encode(errors="surrogatepass"))


def _text(content: Any) -> str:
    """What of a message's content counts: the same whether a client sends a string or one part of text."""
    if isinstance(content, list):
        texts = (part.get("text") if isinstance(part, dict) else part for part in content)
        content = "".join(text[:_MOST_TEXT] for text in texts if isinstance(text, str))
    return content[:_MOST_TEXT] if isinstance(content, str) else ""
