"""The plan as a table, wide enough for a terminal and plain in a log."""

import shlex

from rich.console import Console
from rich.table import Table

from hearth_engine.memory import gib
from hearth_engine.plan import Plan


def show(plan: Plan, console: Console | None = None) -> None:
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=140)
    for table in (_summary(plan), _memory(plan), _flags(plan)):
        console.print(table)
    for note in plan.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)


def _summary(plan: Plan) -> Table:
    table = _table("plan", "", "value")
    table.add_row("hardware", plan.hardware)
    table.add_row("model", plan.model_dir)
    table.add_row("served as", ", ".join(plan.served_names))
    table.add_row("context", f"{plan.context_length} tokens")
    table.add_row("KV cache", f"{plan.kv_cache_tokens} tokens as {plan.kv_cache_type}")
    return table


def _memory(plan: Plan) -> Table:
    table = _table("memory", "part", "size", "why")
    for line in plan.memory:
        table.add_row(line.name, gib(line.bytes), line.why)
    unused = plan.memory_budget - sum(line.bytes for line in plan.memory)
    table.add_row("budget", gib(plan.memory_budget), f"{gib(unused)} unused")
    return table


def _flags(plan: Plan) -> Table:
    table = _table("vLLM", "flag or variable", "value")
    for name, *values in plan.flags:
        table.add_row(name, shlex.join(values))
    for name, value in plan.environment.items():
        table.add_row(name, value or "(empty)")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", show_lines=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
