"""python -m hearth_gateway.health: whether the gateway in this container lives, for its health check.

It imports nothing of the gateway, which would take longer than asking. Over TLS it believes whatever answers: a name or
a date is no matter of life and death.
"""

import os
import ssl
import sys
import urllib.error
import urllib.request

_SECONDS = 4


def lives(port: int) -> bool:
    """Ask /healthz, by http and, where the port speaks TLS and says so, by https."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 400:
            return False
    except OSError:
        return False
    else:
        return True
    believing = ssl.create_default_context()
    believing.check_hostname, believing.verify_mode = False, ssl.CERT_NONE
    try:
        urllib.request.urlopen(f"https://127.0.0.1:{port}/healthz", timeout=_SECONDS, context=believing)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(not lives(int(os.environ.get("HEARTH_PORT") or 8080)))
