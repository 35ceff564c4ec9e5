"""docs/metrics.md has every metric of the gateway, with its labels and its help text.

`UPDATE_GOLDEN=1 pytest tests/unit/docs` writes the table anew.
"""

import os
import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from hearth_gateway.metrics import Metrics

PAGE = Path(__file__).parents[3] / "docs/metrics.md"
TABLE = re.compile(r"(<!-- metrics -->\n).*?(<!-- end -->)", re.DOTALL)


def test_the_page_lists_every_metric() -> None:
    rows = []
    for collector in Metrics()._registry._collector_to_names:
        if isinstance(collector, MetricWrapperBase):  # and not the process's own, which Prometheus documents
            (about,) = collector.describe()
            name = f"{about.name}_total" if about.type == "counter" else about.name
            labels = ", ".join(f"`{label}`" for label in collector._labelnames)
            rows.append(f"| `{name}` | {about.type} | {labels} | {about.documentation} |\n")
    assert len(rows) > 10
    table = "| metric | kind | labels | what it tells |\n| --- | --- | --- | --- |\n" + "".join(rows)
    page = PAGE.read_text("utf-8")
    wanted = TABLE.sub(lambda match: match[1] + table + match[2], page)
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(wanted, "utf-8")
    assert PAGE.read_text("utf-8") == wanted
