"""What scanners found in the locked dependencies, and which of it stands in the way. Pure.

Everything known stands in the way, until accepted.yaml names it with a reason and the day on which that ends.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

LONGEST = timedelta(days=180)  # that a finding may stay accepted without being looked at again

Pins = Mapping[tuple[str, str], Sequence[str]]
"""The lists that lock a package at a version."""


class ScanError(RuntimeError):
    """A scanner gave no answer, or none about some package: nothing known is not nothing found."""


@dataclass(frozen=True)
class Finding:
    """`ids` name one vulnerability, `cure` says which versions are without it, `where` which locks hold the package."""

    package: str
    version: str
    ids: tuple[str, ...]
    cure: str
    where: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.package} {self.version}: {', '.join(self.ids)}: {self.cure}; in {', '.join(self.where)}"


class Accepted(BaseModel):
    """An entry of accepted.yaml: a finding that may stay until `expires`, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    package: str
    reason: str = Field(min_length=20)
    expires: date

    def covers(self, finding: Finding) -> bool:
        return self.package == finding.package and self.id in finding.ids


@dataclass(frozen=True)
class Judgement:
    """`problems` stand in the way, `notes` do not."""

    problems: list[str]
    notes: list[str]


def judge(findings: Iterable[Finding], accepted: Sequence[Accepted], today: date) -> Judgement:
    problems, notes, used = list[str](), list[str](), set[Accepted]()
    for finding in findings:
        covering = [entry for entry in accepted if entry.covers(finding)]
        used.update(covering)
        if valid := [entry for entry in covering if entry.expires >= today]:
            notes.append(f"{finding}; accepted until {valid[0].expires}: {valid[0].reason}")
        else:
            problems.append(f"{finding}" + (f"; accepted until {covering[0].expires} only" if covering else ""))
    for entry in accepted:
        name = f"accepted.yaml: {entry.package} {entry.id}"
        if entry.expires > today + LONGEST:
            problems.append(f"{name}: expires {entry.expires}, more than {LONGEST.days} days ahead")
        if entry not in used:
            notes.append(f"{name}: is found no more: take it out")
    return Judgement(problems, notes)


def rounds(pins: Pins) -> list[list[tuple[str, str]]]:
    """The pins in as few parts as leave each package one version a part: pip-audit takes no more."""
    parts: list[dict[str, str]] = []
    for name, version in sorted(pins):
        part = next((part for part in parts if name not in part), None)
        if part is None:
            parts.append(part := {})
        part[name] = version
    return [sorted(part.items()) for part in parts]


def of_pip_audit(report: Mapping[str, Any], pins: Pins) -> list[Finding]:
    """From `pip-audit --format json --aliases on`. Raises ScanError where it says nothing about a package."""
    silent = [one for one in report["dependencies"] if "skip_reason" in one]
    if silent:
        first = silent[0]
        raise ScanError(f"{len(silent)} packages could not be audited, {first['name']}: {first['skip_reason']}")
    return [
        Finding(
            package=one["name"],
            version=one["version"],
            ids=tuple(dict.fromkeys([vulnerability["id"], *vulnerability["aliases"]])),
            cure=f"fixed in {', '.join(vulnerability['fix_versions']) or 'no version yet'}",
            where=tuple(pins[one["name"], one["version"]]),
        )
        for one in report["dependencies"]
        for vulnerability in one["vulns"]
    ]


def of_npm_audit(report: Mapping[str, Any], lock: Mapping[str, Any], where: str) -> list[Finding]:
    """From `npm audit --json` and the package-lock.json that it read. Raises ScanError."""
    if "vulnerabilities" not in report:
        reason = report.get("message") or report.get("error", {}).get("summary") or "no report"
        raise ScanError(f"npm audit of {where}: {reason}")
    found = list[Finding]()
    for package, one in report["vulnerabilities"].items():
        for advisory in one["via"]:
            if isinstance(advisory, str):  # vulnerable by way of a package that has an entry of its own
                continue
            versions = {lock["packages"][node]["version"] for node in one["nodes"]}
            found.append(
                Finding(
                    package=package,
                    version=", ".join(sorted(versions)),
                    ids=(advisory["url"].rpartition("/")[2],),
                    cure=f"affects {advisory['range']}",
                    where=(where,),
                )
            )
    return found
