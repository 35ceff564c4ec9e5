"""The report's two files: stable keys, and a page that holds everything and runs nothing that a model said."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hearth_quantizer import quality, report
from hearth_quantizer.quality import Measured, Report
from hearth_quantizer.recipe import Limits


@pytest.fixture
def found(measured: Measured) -> Report:
    return quality.report(
        measured, Limits(top1=0.999), model="small", backend="gptqmodel", versions={"torch": "2.13.0"}
    )


def test_the_json_has_stable_keys_and_reads_back(found: Report, tmp_path: Path) -> None:
    report.write(found, tmp_path / "reports")
    raw = (tmp_path / "reports" / "quality.json").read_text("utf-8")
    assert Report.model_validate_json(raw) == found
    data = json.loads(raw)
    assert (data["schema"], data["model"], data["backend"], data["passed"]) == (1, "small", "gptqmodel", False)
    assert data["metrics"].keys() == {"fp", "int4", "rtn"}
    assert data["metrics"]["int4"].keys() == {"perplexity", "kl_mean", "kl_p999", "top1", "tool_match"}
    assert data["tools"]["zh"] == {"fp": 1.0, "int4": 0.0, "rtn": 0.0}
    assert data["gates"][0].keys() == {"name", "title", "measured", "limit", "rule", "passed", "advice"}
    assert [gate["name"] for gate in data["gates"] if not gate["passed"]] == ["top1"]


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_in_itself_and_runs_nothing(found: Report) -> None:
    html = report.html(found)
    page = Page()
    page.feed(html)
    assert page.tags.count("svg") == 6
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"url\((?!['\"]?#)|@import", html)
    for text in ("missed", "same top token", "搜索“量子”", "从前有一座山", "<script>alert(1)</script>", "zh-1"):
        assert text in page.text


def test_plots_take_the_pages_colour(found: Report) -> None:
    html = report.html(found)
    assert html.count("currentColor") > 50
    assert "#123456" not in html


def test_equal_reports_make_equal_pages(found: Report) -> None:
    assert report.html(found) == report.html(found)
