"""Names of tools as the model sees them: the server's prefix and its own name, in the characters that OpenAI allows."""

import hashlib
import re
from collections.abc import Iterable

from hearth_gateway.tools.types import BUILT_IN

OWN_PREFIX = f"{BUILT_IN}_"
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST = 64


def names(prefix: str, remote_names: Iterable[str]) -> dict[str, str]:
    """{the server's own name: the model's}, in the order of the former.

    One that begins with the prefix already is not given it twice. A name that has to be altered and then equals another
    one, is too long, or looks like one of the gateway's own ends with a digest of what it was. So each name depends on
    the list alone, not on its order.
    """
    plain = {
        remote: _NOT_ALLOWED.sub("_", remote if prefix and remote.startswith(prefix) else prefix + remote)
        for remote in sorted(set(remote_names))
    }
    taken = [*plain.values()]
    return {
        remote: name
        if len(name) <= _LONGEST
        and not name.startswith(OWN_PREFIX)
        and (taken.count(name) == 1 or name == prefix + remote)
        else f"{name[: _LONGEST - 7]}_{hashlib.sha256(remote.encode()).hexdigest()[:6]}"
        for remote, name in plain.items()
    }
