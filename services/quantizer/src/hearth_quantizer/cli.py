"""The `hearth-quantize` command."""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hearth_quantizer import artifact, manifest, pipeline, recipe, source, steps, sweep
from hearth_quantizer.backends import BACKENDS
from hearth_quantizer.log import Log
from hearth_quantizer.refusal import Refusal


def main() -> NoReturn:
    """Exit status: 0 made or up to date, 1 refused with a reason, 2 wrong usage, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="hearth-quantize", description="Make the GPTQ INT4 artifact of a recipe.")
    parser.add_argument("recipe", type=Path, nargs="?", help="models/NAME.yaml")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the artifact appears, whole or not at all")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where steps are kept for the next run; default OUT.work"
    )
    parser.add_argument("--backend", choices=BACKENDS, help="instead of the recipe's, with its own default options")
    parser.add_argument("--force", action="store_true", help="replace an artifact that was made of other inputs")
    parser.add_argument(
        "--device-memory",
        type=float,
        metavar="GIB",
        default=os.environ.get("HEARTH_DEVICE_MEMORY_GIB") or None,
        help="use at most this much of the GPU's memory (HEARTH_DEVICE_MEMORY_GIB); slower, no worse",
    )
    parser.add_argument(
        "--sweep", action="store_true", help="try the options that may help, and make the best artifact"
    )
    parser.add_argument(
        "--allow-poor-calibration",
        action="store_true",
        help="for experiments: take few and short calibration rows; the quality gates stay",
    )
    parser.add_argument(
        "--evaluate",
        type=Path,
        metavar="DIR",
        help="measure an artifact against the recipe's source and limits, and stop",
    )
    parser.add_argument("--fetch", action="store_true", help="fetch the recipe's source, print its folder, and stop")
    parser.add_argument("--verify", type=Path, metavar="DIR", help="check an artifact against its manifest and stop")
    options = parser.parse_args()
    fetched = options.fetch and options.work
    if not options.verify and not (options.recipe and (options.out or options.evaluate or fetched)):
        parser.error("name a recipe with --out DIR, --evaluate DIR, or --fetch and --work DIR; or --verify DIR")
    signal.signal(signal.SIGTERM, _interrupt)
    status = 0
    try:
        if options.verify:
            found = manifest.verify(options.verify)
            artifact.check(options.verify, found.source.files)
            print(f"{options.verify}: {len(found.files)} files and {len(found.tensors)} tensors as the manifest says")
        elif fetched:
            wanted, log = recipe.load(options.recipe), Log()
            with steps.workshop(options.work.absolute(), log) as shop:
                print(source.fetch(wanted.source, options.recipe.absolute().parent, shop))
        else:
            out = (options.evaluate or options.out).absolute()
            work = (options.work or out.with_name(out.name + ".work")).absolute()
            log, root = Log(), options.recipe.absolute().parent
            wanted = recipe.load(options.recipe, allow_poor_calibration=options.allow_poor_calibration)
            wanted = wanted.made_by(options.backend)
            limit = options.device_memory
            if options.evaluate:
                pipeline.judge(wanted, root, out, work, log, device_memory=limit)
            else:
                if options.sweep:
                    wanted = sweep.run(wanted, root, work, log, device_memory=limit)
                pipeline.run(wanted, root, out, work, log, force=options.force, device_memory=limit)
    except Refusal as error:
        print(error, file=sys.stderr)
        status = 1
    except OSError as error:
        print(f"{error.filename or 'hearth-quantize'}: {error.strerror or error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("hearth-quantize: interrupted; the finished steps are kept, and no artifact was written", file=sys.stderr)
        status = 130
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # GPTQModel's worker threads would keep an interrupted process alive


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
