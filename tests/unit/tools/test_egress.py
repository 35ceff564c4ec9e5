"""The way out's configuration."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[3] / "docker/tools/egress.py"
spec = importlib.util.spec_from_file_location("egress", FILE)
assert spec is not None
assert spec.loader is not None
egress = importlib.util.module_from_spec(spec)
spec.loader.exec_module(egress)


def rules(allow: list[str], private: list[str]) -> list[str]:
    """The lines that decide, in order: squid takes the first that fits."""
    return [
        line for line in egress.configuration(allow, private).splitlines()
        if line.startswith(("http_access", "acl listed"))
    ]  # fmt: skip


BEFORE = [
    "http_access deny manager", "http_access deny !web",
    "http_access deny CONNECT !tls", "http_access allow start http !CONNECT",
    "http_access deny never",
]  # fmt: skip


def test_nothing_is_reached_unless_listed() -> None:
    assert rules([], []) == [*BEFORE, "http_access deny private", "http_access deny all"]


def test_a_listed_name_is_reached_where_its_address_is_public() -> None:
    assert rules([".example.org", "docs.example.com"], []) == [
        *BEFORE,
        "http_access deny private",
        "acl listed dstdomain -n .example.org docs.example.com",
        "http_access allow listed",
        "http_access deny all",
    ]


def test_a_star_is_all_that_is_public() -> None:
    assert rules(["*"], []) == [*BEFORE, "http_access deny private", "http_access allow all", "http_access deny all"]


def test_loopback_and_link_local_come_before_what_is_private_by_name() -> None:
    assert rules([], ["wiki.local"])[4:7] == [
        "http_access deny never",
        "acl listed_private dstdomain -n wiki.local",
        "http_access allow listed_private",
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        ("example.org", ["example.org"]),
        (" Example.ORG, .a.example\nb ", [".a.example", "b", "example.org"]),
        ("a.example.org,.example.org,example.org,.b.example.org", [".example.org"]),
        ("*", ["*"]),
        ("xn--fiqs8s, a_b.example", ["a_b.example", "xn--fiqs8s"]),
    ],
)
def test_names(value: str, expected: list[str]) -> None:
    assert egress.names("HEARTH_EGRESS_ALLOW", value, everything=True) == expected


@pytest.mark.parametrize(
    "word",
    ["https://example.org", "example.org:443", "10.0.0.1", "*.example.org", "a;b", "-a.example", "#", "exa mple/x"],
)
def test_what_is_no_name_is_refused_by_name(word: str) -> None:
    with pytest.raises(egress.SettingError, match=r"HEARTH_EGRESS_ALLOW.*should be a host name"):
        egress.names("HEARTH_EGRESS_ALLOW", word, everything=True)


def test_not_everything_may_be_private() -> None:
    with pytest.raises(egress.SettingError, match="HEARTH_EGRESS_PRIVATE"):
        egress.names("HEARTH_EGRESS_PRIVATE", "*", everything=False)


@pytest.mark.parametrize(
    ("allow", "private", "reached"),
    [
        ([], [], "none"),
        (["a.example"], ["wiki"], "a.example, wiki"),
        (["*"], [], "all that are public"),
        (["*"], ["wiki"], "all that are public, wiki"),
    ],
)
def test_the_start_page_says_what_is_reached(allow: list[str], private: list[str], reached: str) -> None:
    assert f"<p>Hosts that it reaches: {reached}.</p>" in egress.page(allow, private)
