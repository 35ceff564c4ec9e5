"""Consent to a call: the turn ends with a token, and the next request brings it back with the user's answer.

The token is all there is of the turn that waits: nothing is kept here. It is signed, so that what runs is what was
shown, and bound to the user who was asked and to a time. It is not encrypted: it holds nothing that this user may not
see. Within its time it is good more than once, as a repeated request is.
"""

import base64
import binascii
import hashlib
import hmac
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from hearth_gateway.errors import Problem, bad_request

FIELD = "hearth_approval"
"""The request's field: {"token": …, "approve": true, false or the ids of the calls that may run, "reason": …}."""

_PREFIX = "hearth-approval-1."
_TOKEN = re.compile(rb"hearth-approval-1\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
_LONGEST_REASON = 1000


@dataclass(frozen=True, slots=True)
class PendingCall:
    """One call of a turn that waits. `state`: `ask` waits for consent, `ours` is done and has its result, `client` is
    the client's to run. `server` and `remote_name` are what the user was asked about."""

    id: str
    name: str
    arguments: str
    state: str
    server: str = ""
    remote_name: str = ""
    result: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """A turn that waits for consent. `hidden`: the messages of the rounds before it, which the client did not see."""

    content: str
    calls: tuple[PendingCall, ...]
    hidden: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """The user's answer: `granted` are ids of calls in `pending`; every other call that asked is denied."""

    pending: Pending
    granted: frozenset[str]
    reason: str = ""


class Approvals:
    """Issues tokens and reads them again."""

    def __init__(self, key: bytes, seconds: float) -> None:
        """`key`: secret, the same in every process that should take the tokens. `seconds`: how long a token is good."""
        if len(key) < 32:
            raise ValueError("the key of approval tokens should have at least 32 bytes")
        self._key, self._seconds = key, seconds

    def adopt(self, key: bytes) -> None:
        """From now on the key is this one, which other processes have, too."""
        self._key = key

    def issue(self, pending: Pending, user: str, now: float) -> str:
        """A token for `pending`. `now`: seconds since the epoch."""
        calls = [[getattr(call, name) for name in PendingCall.__slots__] for call in pending.calls]
        payload = zlib.compress(
            orjson.dumps([user, int(now + self._seconds), pending.content, calls, list(pending.hidden)])
        )
        return _PREFIX + _text(payload) + "." + _text(self._sign(payload))

    def decide(self, answer: Any, user: str, now: float, where: str = f"{FIELD}.token") -> Decision:
        """The decision in a request's `hearth_approval`. `where`: what the client calls the token.

        Raises Problem 400.
        """
        if not isinstance(answer, Mapping):
            raise bad_request(f"{FIELD} should be an object with token and approve.", FIELD, "invalid_type")
        if extra := answer.keys() - {"token", "approve", "reason"}:
            raise bad_request(f"{FIELD} has no {min(extra)}. Allowed: approve, reason, token.", FIELD)
        approve, reason = answer.get("approve"), answer.get("reason") or ""
        if not isinstance(reason, str) or len(reason) > _LONGEST_REASON:
            raise bad_request(
                f"{FIELD}.reason should be a text of at most {_LONGEST_REASON} characters.", f"{FIELD}.reason"
            )
        pending = self._open(answer.get("token"), user, now, where)
        asked = [call.id for call in pending.calls if call.state == "ask"]
        if isinstance(approve, bool):
            return Decision(pending, frozenset(asked if approve else ()), reason)
        if not isinstance(approve, list) or not all(one in asked for one in approve):
            raise bad_request(
                f"{FIELD}.approve should be true, false, or a list of calls that asked: {', '.join(asked)}.",
                f"{FIELD}.approve",
            )
        return Decision(pending, frozenset(approve), reason)

    def _open(self, token: Any, user: str, now: float, where: str) -> Pending:
        try:
            payload, signature = (_bytes(part) for part in token.removeprefix(_PREFIX).split("."))
        except (AttributeError, ValueError):
            raise _refused(where, "is not an approval token of this gateway", "invalid_approval") from None
        if not token.startswith(_PREFIX) or not hmac.compare_digest(signature, self._sign(payload)):
            raise _refused(where, "was not issued by this gateway, or was changed", "invalid_approval")
        # Only what was signed here is unpacked and read.
        owner, expires, pending = _unpacked(payload)
        if owner != user:
            raise _refused(where, "was issued to another user", "invalid_approval")
        if now >= expires:
            raise _refused(where, "has expired: send the conversation again without it", "approval_expired")
        return pending

    def reissued(self, text: bytes, now: float) -> bytes:
        """`text` with its tokens issued anew, for nobody in particular. For a replay: whether they were good was seen
        when they were recorded, by a process with another key."""

        def again(found: re.Match[bytes]) -> bytes:
            try:
                _, _, pending = _unpacked(_bytes(found[1].decode()))
            except (ValueError, TypeError, zlib.error):
                return found[0]  # it only looks like one
            return self.issue(pending, "", now).encode()

        return _TOKEN.sub(again, text)

    def _sign(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, _PREFIX.encode() + payload, hashlib.sha256)


def _unpacked(payload: bytes) -> tuple[str, float, Pending]:
    """User, expiry and turn."""
    owner, expires, content, calls, hidden = orjson.loads(zlib.decompress(payload))
    return owner, expires, Pending(content, tuple(PendingCall(*call) for call in calls), tuple(hidden))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None


def _refused(where: str, reason: str, code: str) -> Problem:
    return bad_request(f"{where} {reason}.", where, code)
