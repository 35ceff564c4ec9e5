"""The sizing table of docs/scale-out.md is what the plan says.

`UPDATE_GOLDEN=1 pytest tests/unit/engine` writes it anew.
"""

import os
import re
from pathlib import Path

from hearth_engine.hardware import CARDS
from hearth_engine.memory import GIB
from hearth_engine.plan import plan
from hearth_engine.settings import Settings
from hearth_quantizer.manifest import Manifest

PAGE = Path(__file__).parents[3] / "docs/scale-out.md"
AT_ONCE = 64  # HEARTH_MAX_NUM_SEQS on a GPU
LENGTHS = (32_768, 8_192, 2_048)


def rows(manifest: Manifest) -> list[str]:
    found = []
    for name in ("rtx-3060-12g", "rtx-4060-ti-16g", "l4-24g", "rtx-4090-24g", "h100-80g"):
        for budget in (None, int(CARDS[name].memory_bytes / GIB - 2)):
            decided = plan(manifest, Settings(vram_budget_gib=budget), CARDS[name])
            held = (f"{min(AT_ONCE, decided.kv_cache_tokens // length)}" for length in LENGTHS)
            cells = (
                name,
                f"{decided.memory_budget / GIB:.3g}",
                decided.kv_cache_type,
                f"{decided.kv_cache_tokens:,}",
                *held,
            )
            found.append(f"| {' | '.join(cells)} |")
    return found


def test_the_table_is_what_the_plan_says(qwen3_4b: Manifest) -> None:
    lengths = " | ".join(f"of {length:,}" for length in LENGTHS)
    head = f"| card | budget, GiB | KV cache | tokens of it | conversations {lengths} |"
    table = "\n".join([head, "| --- " * (4 + len(LENGTHS)) + "|", *rows(qwen3_4b)])
    page = PAGE.read_text()
    section = re.compile(r"(<!-- sizing -->\n).*?(<!-- end -->)", re.DOTALL)
    assert section.search(page)
    wanted = section.sub(lambda match: f"{match[1]}{table}\n{match[2]}", page)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        PAGE.write_text(wanted)
    assert PAGE.read_text() == wanted
