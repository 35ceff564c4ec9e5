"""The tool servers' containers by themselves: what each can do, and what it cannot."""

import time
from collections.abc import Callable

import docker
import pytest

from .conftest import PROJECT, SERVERS, VERSION, Tools

REACH = """
import socket, sys
for address in sys.argv[1:]:
    try:
        socket.create_connection((address, 8000), 2)
        print("reached", address)
    except OSError:
        pass
"""


def eventually(condition: Callable[[], bool]) -> None:
    """Waits for it; the limit is for what never happens."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.2)


@pytest.mark.parametrize("service", [*SERVERS, "tool-egress"])
def test_no_more_than_its_share(tools: Tools, service: str) -> None:
    config = tools.container(service).attrs["HostConfig"]
    assert config["Memory"] == config["MemorySwap"]
    assert config["NanoCpus"] > 0


@pytest.mark.parametrize("service", ["tool-files", "tool-commands"])
def test_no_network(tools: Tools, service: str) -> None:
    assert tools.container(service).attrs["HostConfig"]["NetworkMode"] == "none"


@pytest.mark.parametrize("service", ["tool-browser", "tool-search"])
def test_no_network_but_the_proxys(tools: Tools, service: str) -> None:
    (network,) = tools.container(service).attrs["NetworkSettings"]["Networks"]
    assert network == f"{PROJECT}_tools"
    assert tools.client.networks.get(network).attrs["Internal"]
    page = tools.client.networks.get(f"{PROJECT}_outside").attrs["Containers"]
    addresses = [entry["IPv4Address"].split("/")[0] for entry in page.values()]
    assert len(addresses) == 2  # the proxy's, the page's
    code, out = tools.container(service).exec_run(["python3", "-c", REACH, *addresses, "1.1.1.1", "169.254.169.254"])
    assert (code, out) == (0, b"")


def test_the_tools_are_there(tools: Tools) -> None:
    names = {server: set(tools.call(server, "tools/list")[0].split()) for server in SERVERS}
    assert {"list_directory", "read_file", "write_file"} <= names["tool-files"]
    assert names["tool-commands"] == {"run_command", "run_script"}
    assert {"browser_navigate", "browser_snapshot", "browser_click"} <= names["tool-browser"]
    assert names["tool-search"] == {"search"}


def test_files_are_written_listed_read_found_and_run(tools: Tools) -> None:
    """One workspace for all: what one server writes the others see."""
    written, listed, read = tools.calls(
        "tool-files",
        ("write_file", {"path": "/workspace/notes.txt", "content": "The trend in artificial intelligence is small."}),
        ("list_directory", {"path": "/workspace"}),
        ("read_file", {"path": "notes.txt"}),
    )
    assert not written[1]
    assert "[FILE] notes.txt" in listed[0]
    assert read == ("The trend in artificial intelligence is small.", False)
    assert tools.run("echo 人工智能的发展趋势是小模型 > 报告.md && wc -w notes.txt") == ("7 notes.txt\n", False)
    english, chinese, nothing = tools.calls(
        "tool-search",
        ("search", {"query": "artificial intelligence trends"}),
        ("search", {"query": "人工智能发展趋势"}),
        ("search", {"query": "volcano"}),
    )
    assert english == ("1. notes.txt\nnotes.txt\nThe trend in artificial intelligence is small.", False)
    assert chinese == ("1. 报告.md\n报告.md\n人工智能的发展趋势是小模型", False)
    assert nothing == ("Nothing found for: volcano", False)


def test_files_stay_in_the_workspace(tools: Tools) -> None:
    assert (
        tools.run("ln -s /etc/passwd leak.txt; ln -s /etc etc; ln -s /tmp/new dangling.txt; ls -A | wc -l")[1] is False
    )
    refused = tools.calls(
        "tool-files",
        ("read_file", {"path": "/etc/passwd"}),
        ("read_file", {"path": "/workspace/../etc/passwd"}),
        ("read_file", {"path": "../etc/passwd"}),
        ("read_file", {"path": "/workspace/leak.txt"}),
        ("read_file", {"path": "/workspace/etc/passwd"}),
        ("list_directory", {"path": "/workspace/etc"}),
        ("directory_tree", {"path": "/workspace/etc"}),
        ("write_file", {"path": "/workspace/dangling.txt", "content": "x"}),
        ("write_file", {"path": "/tmp/x", "content": "x"}),
    )
    assert [is_error for _, is_error in refused] == [True] * 9
    assert not any("root:" in text for text, _ in refused)
    assert tools.container("tool-files").exec_run(["ls", "-A", "/tmp"])[1] == b""
    assert tools.call("tool-search", "search", query="root bin nologin")[0].startswith("Nothing found")
    tools.run("rm leak.txt etc dangling.txt")


def test_no_way_of_writing_a_path_leads_out(tools: Tools) -> None:
    """The last ones are links that the commands' server makes."""
    tools.run(
        "mkdir sub; ln -s .. parent;ln -s /proc/self/root root; ln -s /proc/self/environ self; ln -s /proc/self/cwd cwd"
    )
    paths = [
        "/workspace/./../etc/passwd", "/workspace/sub/../../etc/passwd", "sub/../../etc/passwd", "//etc/passwd",
        "/proc/self/environ", "/proc/self/root/etc/passwd", "/run/tool/mcp.sock", "/opt/tools/confined.cjs", "~/x",
        "~root/x", "file:///etc/passwd", "/workspace\u2215..\u2215..\u2215etc\u2215passwd",
        "..\uff0f..\uff0fetc/passwd",
        "%2e%2e/%2e%2e/etc/passwd", "..%c0%af..%c0%afetc/passwd", "/etc/passwd\x00.txt", "notes\x00",
        "/WORKSPACE/../etc/passwd", "/workspace-evil/x", "....//....//etc/passwd", "x" * 5000, "root/etc/passwd",
        "self", "cwd/../etc/passwd", "parent/etc/passwd",
    ]  # fmt: skip
    for tool, more in (
        ("read_file", {}),
        ("list_directory", {}),
        ("search_files", {"pattern": "*"}),
        ("edit_file", {"edits": [{"oldText": "a", "newText": "b"}]}),
    ):
        refused = tools.calls("tool-files", *[(tool, {"path": path} | more) for path in paths])
        assert [(path, is_error) for path, (_, is_error) in zip(paths, refused, strict=True) if not is_error] == []
        assert not any("root:" in text or "HEARTH_SOCKET=" in text for text, _ in refused)
    tools.run("rm -r sub root self cwd parent")


def test_a_hard_link_to_elsewhere_cannot_be_made(tools: Tools) -> None:
    said, is_error = tools.run("ln /etc/passwd hard; ls hard")
    assert is_error
    assert "hard link" in said


def test_named_pipes_and_sockets_are_no_files(tools: Tools) -> None:
    """Who opens a pipe waits for its other end: node has four threads for files, and then none."""
    tools.run("mkfifo pipe; ln -s pipe to-pipe")
    names = ["pipe", "to-pipe"] * 4
    reads = tools.calls("tool-files", *[("read_file", {"path": name}) for name in names])
    assert [is_error for _, is_error in reads] == [True] * 8
    assert tools.calls("tool-files", ("write_file", {"path": "pipe", "content": "x"}))[0][1]
    assert tools.call("tool-search", "search", query="pipe")[1] is False
    assert tools.call("tool-files", "list_directory", path=".")[1] is False
    tools.run("rm pipe to-pipe")


def test_commands_reach_nothing(tools: Tools) -> None:
    network = tools.client.networks.get(f"{PROJECT}_outside").attrs
    gateway = network["IPAM"]["Config"][0]["Gateway"]
    addresses = [entry["IPv4Address"].split("/")[0] for entry in network["Containers"].values()]
    hosts = ["1.1.1.1", "169.254.169.254", gateway, *addresses, "tool-egress", "site", "gateway", "example.org"]
    urls = " ".join(f"http://{name}:{port}/" for name in hosts for port in (80, 3128, 8000, 8080))
    out, is_error = tools.run(
        f"curl --version | head -c 4; for u in {urls}; do curl -s -m 1 $u && echo reached $u; done; true"
    )
    assert out == "curl"
    assert not is_error
    assert tools.run("tail -n +3 /proc/net/dev | cut -d: -f1")[0].split() == ["lo"]


def test_a_command_that_does_not_end_is_killed_with_all_it_started(tools: Tools) -> None:
    out, is_error = tools.run("sleep 999")
    assert is_error
    assert "killed: still running after 3 s" in out
    tools.run("setsid sleep 998 & (setsid nohup sleep 997 >/dev/null 2>&1 &); sleep 996")
    tools.run("setsid sleep 995 >/dev/null 2>&1 & echo started")
    assert tools.run("ps -eo comm | grep -c sleep; true")[0] == "0\n"


def test_a_fork_bomb_stays_within_the_sandbox(tools: Tools) -> None:
    out, is_error = tools.run("bomb() { bomb | bomb & }; bomb; sleep 999")
    assert is_error
    assert "Resource temporarily unavailable" in out
    assert int(tools.run("ps -e --no-headers | wc -l")[0]) < 10  # nothing of it is left, dead or alive


def test_a_command_that_takes_all_memory_is_killed_and_the_server_lives(tools: Tools) -> None:
    before = tools.container("tool-commands").attrs["State"]["StartedAt"]
    _, is_error = tools.run("head -c 1G /dev/zero | tail")
    assert is_error
    assert tools.run("echo here") == ("here\n", False)
    assert tools.container("tool-commands").attrs["State"]["StartedAt"] == before


def test_a_command_that_kills_its_limit_takes_the_sandbox_with_it(tools: Tools) -> None:
    before = tools.container("tool-commands").attrs["State"]["StartedAt"]
    assert (
        tools.calls("tool-commands", ("run_command", {"command": "setsid sleep 994 & kill -9 $PPID; sleep 993"})) == []
    )
    eventually(lambda: tools.container("tool-commands").attrs["State"]["StartedAt"] != before)
    left = ("run_command", {"command": "ps -eo comm | grep -c sleep; true"})
    eventually(lambda: tools.calls("tool-commands", left) == [("0\n", False)])


@pytest.mark.parametrize("name", ["listed.example", "site"])  # in HEARTH_EGRESS_ALLOW, in HEARTH_EGRESS_PRIVATE
def test_the_browser_reads_a_listed_page(tools: Tools, name: str) -> None:
    read = tools.browse(f"http://{name}:8000/")
    assert "Page Title: Tea" in read
    assert 'heading "Prices"' in read
    assert "Longjing costs 42 yuan. 龙井茶" in read


def test_a_page_of_its_own_says_what_the_browser_reaches(tools: Tools) -> None:
    assert "Hosts that it reaches: inside.example, listed.example, site." in tools.browse("http://hearth.internal/")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        # The very same page: by a name that is not listed, and by one that is listed and turns out to be private.
        ("http://other.example:8000/", "other.example is not in HEARTH_EGRESS_ALLOW"),
        ("http://unlisted:8000/", "unlisted has a private address"),
        ("http://inside.example:8000/", "inside.example has a private address"),
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254 has a private address"),
        ("http://127.0.0.1:3128/", "127.0.0.1 has a private address"),
        ("http://127.0.0.1:8080/", "127.0.0.1 has a private address"),
        ("http://hearth.internal:8080/", "hearth.internal is not in HEARTH_EGRESS_ALLOW"),
        ("http://localhost:8000/", "localhost has a private address"),
        ("http://[::1]:8000/", "has a private address"),
        ("http://192.168.0.1/", "192.168.0.1 has a private address"),
        ("http://1.1.1.1/", "1.1.1.1 is not in HEARTH_EGRESS_ALLOW"),
        ("https://1.1.1.1/", "ERR_TUNNEL_CONNECTION_FAILED"),
        ("https://unlisted/", "ERR_TUNNEL_CONNECTION_FAILED"),
        ("file:///etc/passwd", 'Access to "file:" protocol is blocked'),
    ],
)
def test_the_browser_is_refused_all_else(tools: Tools, url: str, why: str) -> None:
    read = tools.browse(url)
    assert why in read
    assert "Longjing" not in read
    assert "root:" not in read


def test_the_browser_is_refused_the_same_in_other_words(tools: Tools) -> None:
    """Addresses written in other ways, redirects of a listed page, pages of the browser's own."""
    wanted = {
        "http://2130706433:8000/": "127.0.0.1 has a private address",
        "http://0x7f.1:8000/": "127.0.0.1 has a private address",
        "http://0177.0.0.1:8000/": "127.0.0.1 has a private address",
        "http://2852039166/latest/meta-data/": "169.254.169.254 has a private address",
        "http://[::ffff:169.254.169.254]/latest/meta-data/": "has a private address",
        "http://[::ffff:7f00:1]:3128/": "has a private address",
        "http://0/": "0.0.0.0 has a private address",
        "http://127.0.0.1.:8000/": "has a private address",
        "http://①②⑦.⓪.⓪.①:8000/": "127.0.0.1 has a private address",
        "http://site@unlisted:8000/": "unlisted has a private address",
        "http://site:8000/to?http://unlisted:8000/": "unlisted has a private address",
        "http://site:8000/to?http://169.254.169.254/": "169.254.169.254 has a private address",
        "http://site:8000/to?http://tool-egress:3128/squid-internal-mgr/info": "403 Forbidden",
        "http://site:8000/to?file:///etc/passwd": "ERR_UNSAFE_REDIRECT",
        "http://egress:3128/squid-internal-mgr/config": "403 Forbidden",
        "view-source:file:///etc/passwd": "blocked",
        "view-source:view-source:file:///proc/self/environ": "blocked",
        "blob:file:///etc/passwd": "blocked",
        "data:text/html,x": "blocked",
        "javascript:1": "blocked",
        "chrome://version": "blocked",
        "chrome://net-export": "blocked",
        "devtools://devtools/bundled/inspector.html": "blocked",
        "filesystem:http://site:8000/temporary/x": "blocked",
    }
    visits = [[("browser_navigate", {"url": url}), ("browser_snapshot", {})] for url in wanted]
    heard = [text for text, _ in tools.calls("tool-browser", *[call for visit in visits for call in visit])]
    for number, (url, why) in enumerate(wanted.items()):
        read = "\n".join(heard[2 * number : 2 * number + 2])
        assert why in read, (url, read)
        assert "Longjing" not in read
        assert "root:" not in read


@pytest.mark.parametrize(("allow", "private"), [("*", ""), (".a.example,b.example", ".corp.example,wiki"), ("", "")])
def test_squid_takes_every_configuration_without_a_warning(tools: Tools, allow: str, private: str) -> None:
    script = (
        "import os, sys; sys.path.insert(0, '/opt/tools'); import egress; egress.prepare();"
        "sys.exit(os.system('squid -k parse -f /tmp/squid.conf'))"
    )
    out = tools.client.containers.run(
        f"hearth-tool-egress:{VERSION}", ["-c", script], entrypoint="python3", stderr=True, remove=True,
        environment={"HEARTH_EGRESS_ALLOW": allow, "HEARTH_EGRESS_PRIVATE": private},
    ).decode()  # fmt: skip
    assert "Processing: http_access deny all" in out
    assert not [line for line in out.splitlines() if "WARNING" in line or "ERROR" in line or "FATAL" in line]


def test_a_bad_allow_list_stops_the_proxy_with_its_name(tools: Tools) -> None:
    with pytest.raises(docker.errors.ContainerError, match=r"HEARTH_EGRESS_ALLOW: 'https://a\.example' should"):
        tools.client.containers.run(
            f"hearth-tool-egress:{VERSION}", remove=True, environment={"HEARTH_EGRESS_ALLOW": "https://a.example"}
        )


def test_nobodys_words_are_logged(tools: Tools) -> None:
    tools.run("echo pineapple")
    tools.calls("tool-files", ("read_file", {"path": "/workspace/pineapple"}), ("read_file", {"path": "/pineapple"}))
    tools.call("tool-search", "search", query="pineapple")
    tools.browse("http://site:8000/?q=pineapple")
    for service in [*SERVERS, "tool-egress"]:
        assert b"pineapple" not in tools.container(service).logs(), service
    assert b"GET site:8000" in tools.container("tool-egress").logs()  # the host, for the operator
