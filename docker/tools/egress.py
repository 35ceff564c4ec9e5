"""egress.py: runs squid as the only way out of the tool servers, by an allow-list.

HEARTH_EGRESS_ALLOW    names that may be reached, separated by commas: `example.org`, `.example.org` (with every name
                       below it), `*` (every name and address that is public)
HEARTH_EGRESS_PRIVATE  names that may be reached though their address is a private one
Never reached: loopback and link-local addresses, a cloud's metadata among them. Which addresses a name has is asked
when it is used: a name with a private one among them is refused, unless it is listed as such.

http://hearth.internal/ is a page of the proxy itself, which says what may be reached.
"""

import http.server
import os
import re
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

CONFIGURATION = Path("/tmp/squid.conf")  # noqa: S108 (a tmpfs of the container's own)

_NAME = re.compile(r"\.?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_ADDRESS = re.compile(r"[0-9.]+")

# What no request reaches: this host, the link's own addresses (169.254.169.254 is a cloud's metadata), nobody.
_NEVER = "0.0.0.0/8 127.0.0.0/8 169.254.0.0/16 224.0.0.0/3 ::/127 fe80::/10 ff00::/8"
# Private and shared networks, and IPv6 that wraps an IPv4 address.
_PRIVATE = (
    "10.0.0.0/8 100.64.0.0/10 172.16.0.0/12 192.0.0.0/24 192.168.0.0/16 198.18.0.0/15 fc00::/7 64:ff9b::/96 2002::/16 "
    "2001::/32"
)

START, START_PORT = "hearth.internal", 8080

_TEMPLATE = """\
http_port 3128
visible_hostname egress
acl never dst {never}
acl private dst {private}
acl CONNECT method CONNECT
acl web port 80 443 1025-65535
acl tls port 443 1025-65535
http_access deny manager
http_access deny !web
http_access deny CONNECT !tls
acl start dstdomain -n {start}
acl http port 80
cache_peer 127.0.0.1 parent {start_port} 0 no-query no-digest originserver
cache_peer_access 127.0.0.1 allow start
cache_peer_access 127.0.0.1 deny all
never_direct allow start
http_access allow start http !CONNECT
{rules}
http_access deny all
deny_info ERR_NOT_LISTED all
deny_info ERR_PRIVATE never private
# Nothing is kept: no cache, no state on disk, and of requests the log has the host alone.
cache deny all
cache_mem 0
memory_cache_shared off
pid_filename none
netdb_filename none
coredump_dir none
cache_log /dev/stderr
logformat hosts %ts.%03tu %Ss/%03>Hs %rm %>rd:%>rP
acl request has request
access_log stdio:/dev/stdout hosts request
pinger_enable off
forwarded_for delete
shutdown_lifetime 1 second
connect_timeout 10 seconds
"""


class SettingError(ValueError):
    """A setting has a value that is not allowed; the message names it."""


def names(variable: str, value: str, everything: bool) -> list[str]:
    """The names in a setting's value, less those that another one covers: squid wants it so. Raises SettingError."""
    given = [word.lower() for word in re.split(r"[,\s]+", value) if word]
    for word in given:
        if word == "*" and everything:
            continue
        if not _NAME.fullmatch(word) or _ADDRESS.fullmatch(word):
            allowed = "example.org, .example.org" + (", *" if everything else "")
            raise SettingError(f"{variable}: {word!r} should be a host name like {allowed}")
    domains = {word for word in given if word.startswith(".")}
    return sorted(
        {word for word in given if not any(other != word and f".{word}".endswith(other) for other in domains)}
    )


def configuration(allow: list[str], private: list[str]) -> str:
    """squid's configuration for these names."""
    rules = ["http_access deny never"]
    if private:
        rules += [f"acl listed_private dstdomain -n {' '.join(private)}", "http_access allow listed_private"]
    rules.append("http_access deny private")
    if "*" in allow:
        rules.append("http_access allow all")
    elif allow:
        rules += [f"acl listed dstdomain -n {' '.join(allow)}", "http_access allow listed"]
    return _TEMPLATE.format(never=_NEVER, private=_PRIVATE, rules="\n".join(rules), start=START, start_port=START_PORT)


def page(allow: list[str], private: list[str]) -> str:
    """The start page for these names."""
    if "*" in allow:
        reached = "all that are public" + "".join(f", {name}" for name in private)
    else:
        reached = ", ".join(allow + private) or "none"
    return (
        "<!doctype html><meta charset=utf-8><title>hearth</title><h1>The browser of hearth</h1>"
        f"<p>Hosts that it reaches: {reached}.</p>"
    )


class Start(http.server.BaseHTTPRequestHandler):
    """The start page, for squid alone: it listens on this host's own address."""

    def __init__(self, text: str, *connection: object) -> None:
        self._body = text.encode()
        super().__init__(*connection)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if self.path != "/":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self._body)))
        self.end_headers()
        self.wfile.write(self._body)

    def log_message(self, *_: object) -> None:
        """squid tells of it."""


def prepare() -> str:
    """Write squid's configuration, return the start page. Raises SettingError."""
    allow = names("HEARTH_EGRESS_ALLOW", os.environ.get("HEARTH_EGRESS_ALLOW", ""), everything=True)
    private = names("HEARTH_EGRESS_PRIVATE", os.environ.get("HEARTH_EGRESS_PRIVATE", ""), everything=False)
    CONFIGURATION.write_text(configuration(allow, private))
    return page(allow, private)


def main() -> None:
    try:
        start = http.server.ThreadingHTTPServer(("127.0.0.1", START_PORT), partial(Start, prepare()))
    except SettingError as error:
        sys.exit(str(error))
    threading.Thread(target=start.serve_forever, daemon=True).start()
    squid = subprocess.Popen(["/usr/sbin/squid", "-N", "-f", str(CONFIGURATION)])  # noqa: S603 (nothing of it is given)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: squid.send_signal(number))
    sys.exit(squid.wait())


if __name__ == "__main__":
    main()
