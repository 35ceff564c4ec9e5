"""Resumable steps: each writes a folder named by its step and by everything it depends on, and is done only once."""

import fcntl
import hashlib
import json
import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hearth_quantizer.log import Log
from hearth_quantizer.refusal import Refusal

PARTIAL = ".partial"


class StepError(Refusal):
    """A step broke in a way that nobody foresaw; the text names the log that tells more."""


class BusyError(Refusal):
    """Another run works in the same folder."""


def key(inputs: Mapping[str, Any]) -> str:
    """A digest of JSON-like inputs: equal inputs, equal key."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def code(*modules: str) -> str:
    """A digest of the source of modules of this package: what a step computes depends on them."""
    sources = (Path(__file__).with_name(f"{name}.py").read_bytes() for name in modules)
    return hashlib.sha256(b"".join(sources)).hexdigest()[:12]


@contextmanager
def workshop(folder: Path, log: Log) -> Iterator["Workshop"]:
    """The folder that steps work in, held by one run at a time. Raises BusyError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusyError(f"{folder}: another run is using it") from None
        yield Workshop(folder, log)


class Workshop:
    """Runs steps in a folder; see `workshop`."""

    def __init__(self, folder: Path, log: Log) -> None:
        self.folder = folder
        self.log = log

    def step(
        self, name: str, inputs: Mapping[str, Any], make: Callable[[Path], None], *, resumes: bool = False
    ) -> Path:
        """The folder that `make` filled, now or in an earlier run with the same inputs.

        `make` gets a `*.partial` folder, which is renamed once it returns: a finished name means a finished step. What
        a broken run left there is thrown away, unless the step itself `resumes` from it. What libraries print goes to
        `STEP.log`. Raises StepError for what is not a Refusal.
        """
        done = self.folder / f"{name}-{key(inputs)[:12]}"
        if done.is_dir():
            self.log.say(name, "done before")
            return done
        partial = done.with_name(done.name + PARTIAL)
        if partial.exists() and not resumes:
            shutil.rmtree(partial)
        partial.mkdir(exist_ok=True)
        noise = self.folder / f"{name}.log"
        with self.log.capture(noise):
            try:
                make(partial)
            except Refusal:
                raise
            except Exception as error:
                with noise.open("a", encoding="utf-8") as log:
                    traceback.print_exc(file=log)
                raise StepError(f"{name}: {type(error).__name__}: {error}; see {noise}") from error
        partial.rename(done)
        return done
