"""hearth.tools.yaml: what it may say, and that each mistake is named by line and key."""

from pathlib import Path

import mcp_types
import pytest

from hearth_gateway.tools.config import ToolsConfigError, load, manual, parse
from hearth_gateway.tools.server import offered

WHOLE = """
servers:
  files:
    url: http://tool-files:8080/mcp
    headers:
      authorization: {env: FILES_TOKEN, prefix: "Bearer "}
      x-plain: plain
    prefix: fs_
    allow: [read_*, list_*]
    deny: [read_secret*]
    timeout: 5
    connect_timeout: 3
    concurrency: 2
    result_tokens: 1000
    retries: 0
    approval: {read_all: always}
  local:
    command: [python, -m, my.server]
    env: {TOKEN: {env: FILES_TOKEN}}
    cwd: /tmp
    approval: always
default: [files]
results: {megabytes: 1, seconds: 60}
"""


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILES_TOKEN", "hush-hush")


def test_everything_that_it_may_say() -> None:
    config = parse(WHOLE, "tools.yaml")
    files, local = config.servers["files"], config.servers["local"]
    assert files.headers["authorization"].resolve() == "Bearer hush-hush"
    assert files.headers["x-plain"].resolve() == "plain"
    assert [name for name in ("read_a", "list", "list_b", "read_secrets", "write") if files.allows(name)] == [
        "read_a", "list_b"
    ]  # fmt: skip
    assert [files.needs_approval(name) for name in ("read_all", "read_a")] == [True, False]
    assert local.needs_approval("anything")
    assert (config.prefix("files"), config.prefix("local")) == ("fs_", "local_")
    assert (config.default, config.results.megabytes) == (("files",), 1)


def test_the_first_pattern_that_fits_decides_on_approval() -> None:
    text = "servers: {a: {url: 'http://h/', approval: {'read_*': never, 'read_all': always, '*': always}}}"
    server = parse(text, "f").servers["a"]
    assert [server.needs_approval(name) for name in ("read_all", "read_x", "write")] == [False, False, True]


def test_an_empty_file_is_no_servers() -> None:
    assert parse("", "f").servers == {}


def test_secrets_are_never_shown() -> None:
    config = parse(WHOLE.replace("x-plain: plain", "x-plain: hush-hush"), "f")
    assert "hush-hush" not in f"{config!r} {config}"


def test_a_secret_of_a_file_is_read_anew(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("one\n")
    config = parse(f"servers: {{a: {{url: 'http://h/', headers: {{x: {{file: {secret}}}}}}}}}", "f")
    assert config.servers["a"].headers["x"].resolve() == "one"
    secret.write_text("two")
    assert config.servers["a"].headers["x"].resolve() == "two"


SERVER = "servers:\n  a:\n    url: http://h/\n"
BARE = "servers:\n  b: {url: 'http://h/'}\n  a:\n    url: http://h/\n    prefix: ''\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("servers: [", "f:1: is not YAML: "),
        ("? [a]\n: b", "f:1: is not YAML: found unhashable key"),
        ("a: &a {b: *a}", "f: is not YAML: "),
        ("- a", "f:1: must be a mapping; allowed: servers, default, results"),
        ("server: {}", "f:1: server: unknown key; allowed: servers, default, results"),
        ("servers: [a]", "f:1: servers: should be a mapping"),
        (SERVER + "    tools: {a: {name: b}}\n", "f:4: servers.a.tools.a.name: unknown key; allowed: description, "),
        (SERVER + "    retry: 1\n", "f:4: servers.a.retry: unknown key; allowed: url, socket, headers, command, "),
        (SERVER + "    url: http://i/\n", "f:4: servers.a.url: given twice"),
        (SERVER + "  a:\n    url: http://h/\n", "f:4: servers.a: given twice"),
        ("servers:\n  A b:\n    url: http://h/\n", "f:2: servers.A b: should match pattern"),
        ("servers:\n  hearth:\n    url: http://h/\n", "f:2: servers.hearth: this label is taken"),
        ("servers:\n  a: {}\n", "f:2: servers.a: must have one of: url, command"),
        (SERVER + "    command: [x]\n", "f:2: servers.a: must have one of: url, command"),
        (SERVER + "    env: {A: b}\n", "f:2: servers.a: env and cwd: only a server with command has them"),
        ("servers:\n  a:\n    command: [x]\n    headers: {a: b}\n", "f:2: servers.a: headers and socket: only a"),
        ("servers:\n  a:\n    command: python\n", "f:3: servers.a.command: should be a list, not 'python'"),
        ("servers:\n  a:\n    url: ftp://h/\n", "f:3: servers.a.url: should look like http://host:port/path"),
        ("servers:\n  a:\n    url: http://me:hush@h/\n", "f:3: servers.a.url: should look like http://host:port/path"),
        (SERVER + "    timeout: 0\n", "f:4: servers.a.timeout: should be greater than 0, not 0"),
        (SERVER + "    concurrency: many\n", "f:4: servers.a.concurrency: should be a valid integer"),
        (SERVER + "    approval: maybe\n", "f:4: servers.a.approval: 'maybe' is not supported; allowed: 'never' or"),
        (SERVER + "    approval:\n      x: 1\n", "f:5: servers.a.approval.x: 1 is not supported; allowed: 'never' or"),
        (SERVER + "    headers:\n      b: {env: NOPE}\n", "f:5: servers.a.headers.b: the environment variable NOPE"),
        (SERVER + "    headers:\n      b: {file: /no}\n", "f:5: servers.a.headers.b: the file /no cannot be read: "),
        (SERVER + "    headers:\n      b: {}\n", "f:5: servers.a.headers.b: must be a string, or have one of: env"),
        (SERVER + "    headers:\n      b: {evn: A}\n", "f:5: servers.a.headers.b.evn: unknown key; allowed: text"),
        (SERVER + "    headers: {b: \"c\\nd: e\"}\n", "f:4: servers.a.headers.b: has a line break"),
        (SERVER + "default: [b]\n", "f:4: default: there is no server b; there are: a"),
        (SERVER + "  a_b:\n    url: http://h/\n", "f:2: servers.a.prefix: 'a_' begins the prefix of a_b, 'a_b_', so"),
        (SERVER + "    prefix: ''\n  b:\n    url: http://h/\n", "f:2: servers.a.allow: '*': beside other servers, one"),
        (BARE + "    allow: [read, b_x]\n", "f:6: servers.a.allow: 'b_x' begins with the prefix of b; set a prefix"),
        (BARE + "    allow: [c/d]\n", "f:6: servers.a.allow: 'c/d': beside other servers, one without a prefix lists"),
        (
            BARE + "    allow: [read]\n  c: {url: 'http://h/', prefix: '', allow: [list, read]}\n",
            "f:7: servers.c.allow: a has a tool 'read' too, and neither has a prefix",
        ),
        (SERVER + "    prefix: hearth_x\n", "f:4: servers.a.prefix: no prefix but the gateway's own begins hearth_"),
        (SERVER + "limits: {roundz: 3}\n", "f:4: limits.roundz: unknown key; allowed: rounds, calls, seconds, tokens"),
        (SERVER + "limits: {rounds: 0}\n", "f:4: limits.rounds: should be greater than or equal to 1, not 0"),
        (SERVER + "results: {megabytes: 0}\n", "f:4: results.megabytes: should be greater than or equal to 1, not 0"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_line_and_key(text: str, problem: str) -> None:
    with pytest.raises(ToolsConfigError) as caught:
        parse(text, "f")
    assert problem in str(caught.value)


def test_all_mistakes_are_named_and_no_secret() -> None:
    text = "servers:\n  a:\n    url: http://h/\n    timout: 3\n    headers: {x: [hush-hush]}\n  b:\n    url: 1\n"
    with pytest.raises(ToolsConfigError) as caught:
        parse(text, "f")
    assert [line.split(" ")[0] for line in str(caught.value).splitlines()] == ["f:5:", "f:4:", "f:7:"]
    assert "hush-hush" not in str(caught.value)


def test_one_server_alone_needs_no_prefix() -> None:
    assert parse("servers: {a: {url: 'http://h/', prefix: ''}}", "f").prefix("a") == ""


def test_beside_others_a_server_needs_none_whose_tools_are_named() -> None:
    bare = "{url: 'http://h/', prefix: '', allow: [%s]}"
    config = parse(f"servers: {{a: {bare % 'read, write'}, b: {bare % 'run'}, c: {{url: 'http://h/'}}}}", "f")
    assert [config.prefix(label) for label in "abc"] == ["", "", "c_"]


SERVED = {
    "files": ["read_file", "list_directory", "directory_tree"],
    "commands": ["run_command", "run_script"],
    "browser": ["browser_navigate", "browser_click", "browser_evaluate"],
    "search": ["search"],
}


def test_the_stack_s_own_tools_have_names_that_say_what_they_do() -> None:
    config = load(Path(__file__).parents[3] / "config/hearth.tools.yaml")
    names = {
        tool.name
        for label, served in SERVED.items()
        for tool in offered(
            label,
            config.prefix(label),
            config.servers[label],
            [mcp_types.Tool.model_validate({"name": name, "inputSchema": {"type": "object"}}) for name in served],
        )
    }
    assert names == {
        "files_read_file", "files_list_directory", "run_command", "run_script", "browser_navigate", "browser_click",
        "search",
    }  # fmt: skip


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolsConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4")
    with pytest.raises(ToolsConfigError, match=r"latin.yaml: is not UTF-8 text: .* at byte 3"):
        load(tmp_path / "latin.yaml")


def test_every_key_is_explained() -> None:
    assert all(len(text.split()) > 3 for _, _, text in manual())
    assert {("servers.LABEL.timeout", "30"), ("limits.rounds", "16")} <= {(key, given) for key, given, _ in manual()}
