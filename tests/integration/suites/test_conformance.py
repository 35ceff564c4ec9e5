"""The official MCP suite judges the hub as a client: https://github.com/modelcontextprotocol/conformance"""

import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from tests.integration.suites.conftest import HERE, Node

CONFORMANCE = HERE / "node_modules/@modelcontextprotocol/conformance/dist/index.js"

# By scenario, the revisions of the protocol in which it is run: each differs in how a connection begins.
APPLIES = {
    "initialize": ("2025-11-25",),
    "tools_call": ("2025-11-25", "2026-07-28"),
    "sse-retry": ("2025-11-25",),
    "request-metadata": ("2026-07-28",),
    "http-standard-headers": ("2026-07-28",),
    "http-custom-headers": ("2026-07-28",),
    "http-invalid-tool-headers": ("2026-07-28",),
    "json-schema-ref-no-deref": ("2026-07-28",),
    "json-schema-2020-12-preservation": ("2025-11-25", "2026-07-28"),
}

DOES_NOT_APPLY = {
    "auth/*": "the operator gives a server's credentials as headers in hearth.tools.yaml; nobody is there to log in",
    "elicitation-sep1034-client-defaults": "the hub does not offer elicitation: a server cannot ask the user anything",
    "sep-2322-client-request-state": "a result that asks for input, here by elicitation, which the hub does not offer",
    "sep-2640-client-*": "skills, an extension: the hub uses tools only",
}


@pytest.mark.parametrize(
    ("scenario", "revision"), [(name, revision) for name, revisions in APPLIES.items() for revision in revisions]
)
async def test_a_scenario_passes(node: Node, tmp_path: Path, scenario: str, revision: str) -> None:
    client = f"{sys.executable} -m tests.integration.suites.conformance_client"
    done = await node(CONFORMANCE, "client", "--command", client, "--scenario", scenario, "--spec-version", revision,
                      "--output-dir", tmp_path, "--timeout", "100000", "--verbose")  # fmt: skip
    assert done.status == 0, done.output + done.errors
    passed = re.search(r"Passed: (\d+)/(\d+), 0 failed, 0 warnings", done.output + done.errors)
    assert passed, "nothing was judged"
    assert int(passed[1]) > 0


async def test_every_scenario_of_the_suite_is_run_or_has_a_reason_not_to_be(node: Node) -> None:
    listed = re.findall(r"^ +- (\S+)", (await node(CONFORMANCE, "list", "--client")).output, re.MULTILINE)
    assert set(APPLIES) <= set(listed)
    for scenario in listed:
        reasons = [reason for pattern, reason in DOES_NOT_APPLY.items() if fnmatchcase(scenario, pattern)]
        assert len(reasons) + (scenario in APPLIES) == 1, scenario
    for pattern in DOES_NOT_APPLY:
        assert any(fnmatchcase(scenario, pattern) for scenario in listed), pattern
