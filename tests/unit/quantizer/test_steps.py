"""Steps are done once for the same inputs, and leave nothing that looks done when they break."""

import os
from pathlib import Path

import pytest

from hearth_quantizer import steps
from hearth_quantizer.log import Log
from hearth_quantizer.refusal import Refusal
from hearth_quantizer.steps import BusyError, StepError, Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path, Log())


def write(out: Path) -> None:
    (out / "file").write_text("made")


def never(out: Path) -> None:
    raise AssertionError("was to be skipped")


def test_the_same_inputs_are_done_once(shop: Workshop) -> None:
    first = shop.step("make", {"a": 1, "b": [2]}, write)
    assert shop.step("make", {"b": [2], "a": 1}, never) == first
    assert (first / "file").read_text() == "made"


def test_other_inputs_are_done_anew_and_both_are_kept(shop: Workshop) -> None:
    first, second = shop.step("make", {"a": 1}, write), shop.step("make", {"a": 2}, write)
    assert first != second
    assert first.is_dir()


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), Refusal("no")])
def test_a_broken_step_is_not_taken_for_done(shop: Workshop, failure: BaseException) -> None:
    def broken(out: Path) -> None:
        write(out)
        raise failure

    with pytest.raises(type(failure)):
        shop.step("make", {}, broken)
    assert [path.name for path in shop.folder.iterdir() if path.is_dir()] == [
        f"make-{steps.key({})[:12]}{steps.PARTIAL}"
    ]


def test_leftovers_are_thrown_away_unless_the_step_resumes(shop: Workshop) -> None:
    def broken(out: Path) -> None:
        (out / "half").touch()
        raise KeyboardInterrupt

    for resumes, left in ((False, set()), (True, {"half"})):
        with pytest.raises(KeyboardInterrupt):
            shop.step("make", {"resumes": resumes}, broken)
        done = shop.step("make", {"resumes": resumes}, write, resumes=resumes)
        assert {path.name for path in done.iterdir()} == {"file"} | left


def test_an_unforeseen_failure_names_the_step_and_its_log(shop: Workshop, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(out: Path) -> None:
        os.write(1, b"chatter")  # as a library written in C would
        raise IndexError("list index out of range")

    with pytest.raises(StepError, match=r"^make: IndexError: list index out of range; see .*/make\.log$"):
        shop.step("make", {}, broken)
    log = (shop.folder / "make.log").read_text()
    assert "chatter" in log
    assert "Traceback" in log
    assert "chatter" not in "".join(capfd.readouterr())


def test_a_folder_serves_one_run_at_a_time(tmp_path: Path) -> None:
    second = steps.workshop(tmp_path, Log())
    with steps.workshop(tmp_path, Log()), pytest.raises(BusyError, match="another run is using it"):
        second.__enter__()
    with steps.workshop(tmp_path, Log()):
        pass
