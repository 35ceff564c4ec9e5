"""The command line: serve, plan, verify, quality, models, bench, health."""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

REPORTS = Path("/opt/hearth/reports")

# Container health checks run this every few seconds: whatever `health` does not need is imported where it is used.


def main() -> None:
    """Entry point of `hearth-engine`. Whatever a user can mend ends with status 1 and one line a problem."""
    args = _parser().parse_args()
    try:
        args.run(args)
    except SystemExit:  # before _refusals is asked: a health check that fails stays cheap while the engine starts
        raise
    except KeyboardInterrupt:
        sys.exit(130)
    except _refusals() as error:
        sys.exit("\n".join(f"hearth-engine: {line}" for line in str(error).splitlines()))


def _refusals() -> tuple[type[Exception], ...]:
    """Errors with a message for the user (imported once one is raised); any other is a bug and keeps its traceback."""
    from hearth_engine.bench.meter import BusyError
    from hearth_engine.cache import CacheError
    from hearth_engine.hardware import HardwareError
    from hearth_engine.memory import OverBudgetError
    from hearth_engine.plan import PlanError
    from hearth_engine.quality import ReportError
    from hearth_engine.settings import SettingsError
    from hearth_quantizer.manifest import ArtifactError, ManifestError

    return (
        SettingsError,
        ManifestError,
        ArtifactError,
        HardwareError,
        PlanError,
        CacheError,
        ReportError,
        BusyError,
        OverBudgetError,
    )


def serve(args: argparse.Namespace) -> NoReturn:
    """Plan, verify while vLLM is being imported, run vLLM until it ends or stands still."""
    from hearth_engine import cache, hardware, memory, report, settings, unpack, watch
    from hearth_engine.plan import plan
    from hearth_quantizer import manifest

    # The first process of a container ignores what it has no handler for.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    chosen = settings.load()
    decided = plan(manifest.Manifest.load(chosen.model_dir), chosen, hardware.detect(chosen.device))
    report.show(decided)
    print(f"hearth-engine: {cache.seed(chosen.baked_cache_dir, chosen.cache_dir)}", flush=True)
    on_cpu = decided.device == "cpu"
    before = None if on_cpu else _device_memory()

    def verify() -> None:
        verified = manifest.verify(chosen.model_dir)
        print(f"hearth-engine: verified {len(verified.files)} files, {len(verified.tensors)} tensors", flush=True)
        if decided.unpack:
            unpack.unpack(chosen.model_dir, verified, Path(decided.model_dir))

    def loaded() -> None:
        if decided.unpack:
            unpack.forget(Path(decided.model_dir))
        if before is not None and (now := _device_memory()) is not None:
            used = now - before
            given = chosen.vram_budget_gib is not None
            warning = memory.judge(used, decided.memory_planned, decided.memory_budget, chosen=given)
            print(f"hearth-engine: {warning or f'{memory.gib(used)} of device memory, as planned'}", flush=True)

    sys.exit(watch.run(
        decided.command, os.environ | decided.environment, port=chosen.engine_port, model=decided.served_names[0],
        on_cpu=on_cpu, patience=chosen.hang_seconds, permit=verify, at_first_token=loaded,
    ))  # fmt: skip


def _device_memory() -> int | None:
    """Bytes of the GPU that are in use; None, and why, where it does not tell: an engine that works goes on without."""
    from hearth_engine import hardware

    try:
        return hardware.device_memory_used()
    except hardware.HardwareError as error:
        print(f"hearth-engine: its memory is not compared with the plan: {error}", flush=True)
        return None


def show_plan(args: argparse.Namespace) -> None:
    from hearth_engine import hardware, report, settings
    from hearth_engine.plan import plan
    from hearth_quantizer.manifest import Manifest

    chosen = settings.load()
    if args.model:
        chosen = chosen.model_copy(update={"model_dir": args.model})
    target = hardware.named(args.gpu) if args.gpu else hardware.detect(chosen.device)
    decided = plan(Manifest.load(chosen.model_dir), chosen, target)
    if args.json:
        print(decided.model_dump_json(indent=2))
    else:
        report.show(decided)


def verify(args: argparse.Namespace) -> None:
    from hearth_engine import settings
    from hearth_quantizer import manifest

    folder = args.folder or settings.load().model_dir
    verified = manifest.verify(folder)
    print(f"{folder}: {len(verified.files)} files and {len(verified.tensors)} tensors are as the manifest says")


def show_quality(args: argparse.Namespace) -> None:
    """Status 1 where a gate failed: the weights were built all the same, then."""
    from hearth_engine import quality

    if not quality.show([quality.load(folder) for folder in args.folders or [REPORTS]]):
        sys.exit(1)


def show_models(args: argparse.Namespace) -> None:
    from hearth_engine import models

    models.show(*models.read(sys.stdin.readlines()))


def bench(args: argparse.Namespace) -> None:
    """bench.json goes to standard output, progress and the verdict beside it."""
    from hearth_engine import hardware, settings
    from hearth_engine.bench import run
    from hearth_engine.bench.figures import verdicts
    from hearth_quantizer.manifest import Manifest

    chosen = settings.load()
    found = run.bench(Manifest.load(chosen.model_dir), chosen, hardware.detect(chosen.device), args.source, run.say,
                      args.repeats or run.REPEATS)  # fmt: skip
    print(found.model_dump_json(indent=2, by_alias=True))
    for verdict in verdicts(found):
        holds = {True: "holds", False: "missed", None: "cannot be told here"}[verdict.holds]
        run.say(f"{verdict.promise}: {verdict.measured}: {holds}")
    if "hearth" in found.missing:  # 16 bit may well not fit
        sys.exit(1)


def bench_page(args: argparse.Namespace) -> None:
    from hearth_engine.bench import page
    from hearth_engine.bench.figures import Report

    args.page.write_text(page.html(Report.model_validate_json(args.report.read_bytes())), "utf-8")


def bench_compare(args: argparse.Namespace) -> None:
    """Status 1 where a figure is worse than noise explains, 2 where the two cannot be compared."""
    from hearth_engine.bench import compare

    try:
        found = compare.compare(compare.load(args.base), compare.load(args.report))
    except compare.IncomparableError as error:
        print(f"hearth-engine: {error}", file=sys.stderr)
        sys.exit(2)
    if not compare.show(found):
        sys.exit(1)


def health(args: argparse.Namespace) -> None:
    from hearth_engine import watch

    watch.health()


def show_settings(args: argparse.Namespace) -> None:
    from hearth_engine.settings import manual

    if args.markdown:
        print("| variable | default | what it does |\n| --- | --- | --- |")
    for variable, default, text in manual():
        if args.markdown:
            print(f"| `{variable}` | {f'`{default}`' if default else ''} | {text} |")
        else:
            print(f"{variable}={default}\n    {text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hearth-engine", description="Verifies an artifact, plans vLLM, runs vLLM.")
    commands = parser.add_subparsers(title="commands", required=True)

    command = commands.add_parser("serve", help="verify, plan and run vLLM (settings: HEARTH_… variables)")
    command.set_defaults(run=serve)

    command = commands.add_parser("plan", help="print the plan without starting")
    command.add_argument("--gpu", metavar="NAME", help="plan for a card such as rtx-3060-12g, or cpu")
    command.add_argument("--model", type=Path, metavar="DIR", help="artifact (default: HEARTH_MODEL_DIR)")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=show_plan)

    command = commands.add_parser("verify", help="compare an artifact with its manifest")
    command.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="artifact (default: HEARTH_MODEL_DIR)")
    command.set_defaults(run=verify)

    command = commands.add_parser("quality", help="print the reports on the quality of the weights, side by side")
    command.add_argument(
        "folders", type=Path, nargs="*", metavar="DIR", help=f"folders of reports (default: {REPORTS})"
    )
    command.set_defaults(run=show_quality)

    command = commands.add_parser("models", help="print models as a table; standard input says which (make models)")
    command.set_defaults(run=show_models)

    command = commands.add_parser(
        "bench", help="measure 16 bit and INT4, stock vLLM and the plan, one after the other; prints JSON"
    )
    command.add_argument("--source", type=Path, metavar="DIR", help="the 16 bit model; without it INT4 alone")
    command.add_argument(
        "--repeats", type=int, choices=range(1, 100), metavar="N", help="of each load on hearth's own runs, 1 to 99 (3)"
    )
    command.set_defaults(run=bench)

    command = commands.add_parser("bench-page", help="make the page of a benchmark's JSON (needs matplotlib)")
    command.add_argument("report", type=Path, metavar="JSON")
    command.add_argument("page", type=Path, metavar="HTML")
    command.set_defaults(run=bench_page)

    command = commands.add_parser("bench-compare", help="fail where a benchmark is worse than another, beyond noise")
    command.add_argument("base", type=Path, metavar="OLD_JSON")
    command.add_argument("report", type=Path, metavar="NEW_JSON")
    command.set_defaults(run=bench_compare)

    command = commands.add_parser("health", help="exit 0 if the engine of this container gave a sign of life lately")
    command.set_defaults(run=health)
    command = commands.add_parser("settings", help="explain the settings")
    command.add_argument("--markdown", action="store_true", help="as a Markdown table")
    command.set_defaults(run=show_settings)
    return parser
