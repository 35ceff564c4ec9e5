"""A package that nobody runs until somebody asks it for something."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from hearth_engine import lean


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], bool]]:
    """Whether the package `heavy` has run; `heavy.leaf` needs nothing of it."""
    folder = tmp_path / "heavy"
    folder.mkdir()
    (folder / "__init__.py").write_text("import sys\nsys.heavy_ran = True\nworth = 7\nmark = 'real'\n")
    (folder / "leaf.py").write_text("value = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lean, "_PACKAGES", ("heavy",))
    monkeypatch.setitem(lean._STANDING_IN, "heavy", {"mark": lean.mark, "rules": SimpleNamespace(clear=lambda: None)})
    monkeypatch.setattr(sys, "meta_path", [lean._Finder(), *sys.meta_path])
    yield lambda: hasattr(sys, "heavy_ran")
    for name in [name for name in sys.modules if name.split(".")[0] == "heavy"]:
        del sys.modules[name]
    if hasattr(sys, "heavy_ran"):
        del sys.heavy_ran


def test_marks_and_submodules_do_not_run_it(ran: Callable[[], bool]) -> None:
    heavy = importlib.import_module("heavy")

    @heavy.mark
    def one() -> int:
        return 1

    @heavy.mark(reason="none")
    def two() -> int:
        return 2

    heavy.rules.clear()
    assert (one(), two(), importlib.import_module("heavy.leaf").value, heavy.leaf.value) == (1, 2, 3, 3)
    assert not hasattr(heavy, "__nothing__")
    assert not ran()


def test_anything_else_runs_it(ran: Callable[[], bool]) -> None:
    heavy = importlib.import_module("heavy")
    assert heavy.worth == 7
    assert ran()
    assert heavy.mark == "real"
    with pytest.raises(AttributeError, match="absent"):
        _ = heavy.absent


def test_compiling_waits_for_the_call() -> None:
    compiled = []

    def real(function: Callable[[int], int], **options: object) -> Callable[[int], int]:
        compiled.append((function.__name__, options))
        return lambda x: function(x) + 100

    later = lean._at_first_call(real)

    @later
    def one(x: int) -> int:
        return x

    @later(dynamic=True)
    def two(x: int) -> int:
        return 2 * x

    assert compiled == []
    assert (one(1), one(2), two(3)) == (101, 102, 106)
    assert compiled == [("one", {}), ("two", {"dynamic": True})]
