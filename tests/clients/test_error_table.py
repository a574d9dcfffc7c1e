"""The table in errors.md is whole and true: each declared error has a test that is there, or a reason."""

import pathlib
import re
import subprocess
import sys

import pytest

import test_errors
from support import model

HERE = pathlib.Path(__file__).parent
ROW = re.compile(r"^\| (\w+) \| (\w+) \| (?:`([^`|]+)`|([A-Z][^|`]*)) \|$")


def rows():
    """Pair to its test or, with an empty test, its reason; in the order of the file."""
    lines = [line for line in (HERE / "errors.md").read_text().splitlines() if line.startswith("| ")]
    read = []
    for line in lines[1:]:
        found = ROW.match(line)
        assert found, f"errors.md: a row needs an operation, an error, and a test in backquotes or a sentence: {line}"
        operation, error, test, reason = found.groups()
        read.append(((operation, error), test, reason))
    return read


@pytest.fixture(scope="module")
def collected():
    """Every test of this folder, as pytest names it."""
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "."],
        cwd=HERE, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {line.rsplit("/", 1)[-1] for line in listed.stdout.splitlines() if "::" in line}


def test_the_table_has_each_declared_error_once_and_no_other():
    declared = [(name, error) for name in model.OPERATIONS for error in model.declared_errors(name)]
    assert [pair for pair, _, _ in rows()] == declared


def test_each_test_that_is_named_is_there_and_is_about_that_pair(collected):
    for (operation, error), test, _ in rows():
        if test is None:
            continue
        assert test in collected, f"errors.md names {test}, which is not there"
        assert operation in test, f"errors.md: {test} is not about {operation}"
        plain = error.removesuffix("Exception").removesuffix("Error").lower()
        assert plain in test.replace("_", "").lower(), f"errors.md: {test} is not about {error}"


def test_each_error_that_a_test_provokes_is_in_the_table_with_that_test():
    told = {pair: test for pair, test, _ in rows()}
    for pair in test_errors.REFUSALS:
        assert told.get(pair) == f"test_errors.py::test_is_refused_with[{'-'.join(pair)}]"


def test_a_reason_says_something():
    for pair, test, reason in rows():
        assert test or len(reason.split()) >= 6, pair
