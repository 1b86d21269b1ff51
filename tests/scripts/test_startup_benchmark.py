"""The benchmark of the time to the first token."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.startup import PHASES, summary, table
from tests.support.fake_model import ROOT

RUNS = [
    {**dict.fromkeys(PHASES, seconds), "CPU": 2.0, "own": 300.0, "peak": 900.0, "total": seconds}
    for seconds in (1.0, 2.0, 9.0)
]


def test_a_row_has_medians_and_the_least_total() -> None:
    found = summary(RUNS)
    assert (found["load"], found["total"], found["least total"]) == (2.0, 2.0, 1.0)
    lines = table({"cached": found}).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[-1] == ("| cached | 2.00 | 2.00 | 2.00 | 2.00 | 2.00 | 1.00 | 2.00 | 300 | 900 |")


@pytest.mark.weights
@pytest.mark.slow
def test_one_process_measures_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.startup", "--once"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert min(found[phase] for phase in PHASES) > 0
    assert found["peak"] > found["own"] > 50
