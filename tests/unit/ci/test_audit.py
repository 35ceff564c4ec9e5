"""Known vulnerabilities: what is read from the scanners, and what stands in the way. The reports in recorded/ are those
of pip-audit 2.10.1 and npm 11."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from ci import audit
from ci.findings import Accepted, Finding, ScanError, judge, of_npm_audit, of_pip_audit, rounds
from pydantic import ValidationError

RECORDED = Path(__file__).with_name("recorded")
TODAY = date(2026, 6, 1)
FOUND = Finding("idna", "3.4", ("PYSEC-2024-60", "CVE-2024-3651"), "fixed in 3.7", ("uv.lock",))


def recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_text("utf-8"))


def accepted(**changes: Any) -> Accepted:
    entry = {"id": "CVE-2024-3651", "package": "idna", "reason": "No host name comes from outside.", "expires": TODAY}
    return Accepted.model_validate(entry | changes)


def test_a_finding_stands_in_the_way_and_says_where_it_is_locked_and_what_mends_it() -> None:
    judgement = judge([FOUND], [], TODAY)
    assert judgement.problems == ["idna 3.4: PYSEC-2024-60, CVE-2024-3651: fixed in 3.7; in uv.lock"]


def test_an_accepted_one_does_not_by_any_of_its_names_until_its_day_is_over() -> None:
    for name in FOUND.ids:
        assert judge([FOUND], [accepted(id=name)], TODAY).problems == []
    (note,) = judge([FOUND], [accepted()], TODAY).notes
    assert note.endswith("accepted until 2026-06-01: No host name comes from outside.")
    (problem,) = judge([FOUND], [accepted()], date(2026, 6, 2)).problems
    assert problem.endswith("accepted until 2026-06-01 only")


@pytest.mark.parametrize("changes", [{"id": "CVE-2024-0000"}, {"package": "requests"}])
def test_an_entry_covers_its_own_finding_alone(changes: dict[str, str]) -> None:
    judgement = judge([FOUND], [accepted(**changes)], TODAY)
    assert len(judgement.problems) == 1
    assert judgement.notes[0].endswith("is found no more: take it out")


def test_nothing_is_accepted_for_longer_than_half_a_year() -> None:
    assert judge([FOUND], [accepted(expires=date(2026, 11, 28))], TODAY).problems == []
    (problem,) = judge([FOUND], [accepted(expires=date(2026, 11, 29))], TODAY).problems
    assert "more than 180 days ahead" in problem


@pytest.mark.parametrize("changes", [{"reason": "ok"}, {"expires": None}, {"severity": "low"}])
def test_an_entry_without_a_reason_or_a_day_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        accepted(**changes)


def test_what_pip_audit_found() -> None:
    pins = {("requests", "2.19.0"): ["gateway.txt", "uv.lock"], ("idna", "3.4"): ["uv.lock"], ("six", "1.17.0"): []}
    found = of_pip_audit(recorded("pip-audit.json"), pins)
    assert [(one.package, one.ids[0], one.cure) for one in found] == [
        ("requests", "PYSEC-2018-28", "fixed in 2.20.0"),
        ("requests", "PYSEC-2023-74", "fixed in 2.31.0"),
        ("idna", "PYSEC-2024-60", "fixed in 3.7"),
    ]
    assert found[0].where == ("gateway.txt", "uv.lock")
    assert found[2] == FOUND


def test_what_npm_audit_found_once_and_not_again_for_each_that_depends_on_it() -> None:
    (found,) = of_npm_audit(recorded("npm-audit.json"), recorded("npm-lock.json"), "docker/tools/package-lock.json")
    assert str(found) == (
        "minimist 1.2.5: GHSA-xvch-5gv4-984h: affects >=1.0.0 <1.2.6; in docker/tools/package-lock.json"
    )


def test_no_answer_is_not_taken_for_nothing_found() -> None:
    with pytest.raises(ScanError, match=r"1 packages could not be audited, requests: Dependency not found"):
        of_pip_audit(recorded("pip-audit-silent.json"), {})
    with pytest.raises(ScanError, match=r"npm audit of ci/package-lock\.json: 405 Method Not Allowed"):
        of_npm_audit(recorded("npm-audit-silent.json"), {}, "ci/package-lock.json")


def test_each_part_has_a_package_once() -> None:
    pins = {("a", "1"): [], ("a", "2"): [], ("b", "1"): [], ("a", "3"): []}
    assert rounds(pins) == [[("a", "1"), ("b", "1")], [("a", "2")], [("a", "3")]]


def test_every_lock_of_the_project_is_audited() -> None:
    pins = audit.pins(audit.ROOT)
    lists = {path.name for path in (audit.ROOT / "docker/requirements").glob("*.txt")}
    overrides = {name for name in lists if name.endswith(".overrides.txt")}
    assert {where for places in pins.values() for where in places} == (lists - overrides) | {"uv.lock"}
    torch = next(places for (name, version), places in pins.items() if name == "torch" and "torch-cpu.txt" in places)
    assert "torch-cuda.txt" in torch  # the CPU's `+cpu` is the same code
    found = {path for path in audit.ROOT.rglob("package-lock.json") if "node_modules" not in path.parts}
    assert found == set(audit.NPM_LOCKS)


@pytest.mark.parametrize(
    ("found", "answers", "status", "said"),
    [
        ([], True, None, "nothing stands in the way"),
        ([FOUND], True, 1, "error: idna 3.4"),
        ([], False, 2, "error: npm audit: no answer"),
        ([FOUND], False, 1, "error: npm audit: no answer"),
    ],
)
def test_the_status_tells_a_finding_from_no_answer(
    found: list[Finding],
    answers: bool,
    status: int | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def npm(lock: Path) -> list[Finding]:
        if not answers:
            raise ScanError("npm audit: no answer")
        return []

    monkeypatch.setattr(audit, "python_findings", lambda: found)
    monkeypatch.setattr(audit, "npm_findings", npm)
    if status is None:
        audit.main()
    else:
        with pytest.raises(SystemExit) as ended:
            audit.main()
        assert ended.value.code == status
    assert said in capsys.readouterr().out


def test_what_is_accepted_now_is_well_formed() -> None:
    for entry in yaml.safe_load(audit.ACCEPTED.read_text("utf-8")):
        Accepted.model_validate(entry)
