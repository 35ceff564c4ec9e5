"""For all tests: what they say while they run."""

import sys

import pytest


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> tuple[str, str, str] | None:
    """Where nobody watches, a test that passes says nothing: what a log keeps is what went wrong."""
    watched = sys.stdout.isatty() or config.get_verbosity() > 0
    return None if watched or not report.passed or report.when != "call" else ("passed", "", "PASSED")
