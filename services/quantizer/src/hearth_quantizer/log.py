"""What a run says: progress bars on a terminal, plain lines in a build log, and the noise of libraries in a file."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

Advance = Callable[[int], None]
_QUIET_SECONDS = 10.0


class Log:
    """Lines `[step] text` on stderr. It keeps a descriptor of its own, so that `capture` does not silence it."""

    def __init__(self) -> None:
        self._console = Console(file=os.fdopen(os.dup(sys.stderr.fileno()), "w"), highlight=False, soft_wrap=True)
        self._start = time.monotonic()

    def say(self, step: str, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        self._console.print(f"{minutes:3d}:{seconds:02d}  {step:<10}{text}", markup=False)

    @contextmanager
    def progress(self, step: str, total: int, unit: str) -> Iterator[Advance]:
        """Yields a function that takes how many of `total` units are done by now."""
        if self._console.is_terminal:
            columns = (
                TextColumn("       {task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}"),
            )
            with Progress(*columns, TextColumn(unit), TimeElapsedColumn(), console=self._console) as bar:
                task = bar.add_task(f"{step:<10}", total=total)
                yield lambda done: bar.update(task, completed=done)
            return
        last = time.monotonic()

        def advance(done: int) -> None:
            nonlocal last
            if done >= total or time.monotonic() - last >= _QUIET_SECONDS:
                last = time.monotonic()
                self.say(step, f"{done}/{total} {unit}")

        yield advance

    @contextmanager
    def capture(self, path: Path) -> Iterator[None]:
        """Send everything that is written to stdout and stderr, by whatever library, to a file."""
        saved = os.dup(1), os.dup(2)
        with path.open("wb") as file:
            _flush()
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            _flush()
            for target, descriptor in enumerate(saved, 1):
                os.dup2(descriptor, target)
                os.close(descriptor)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
