"""What a run costs besides itself, in one process and on a cluster of this machine: the table of docs/scaling.md."""

from __future__ import annotations

import re
import time

import pytest
from small_runs import furnish, options

from zoo.results.folder import find_results, load_all


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 10, 50, 200])
def test_how_cost_grows(sweeps, count, figure):
    """Overhead: seconds of the slots that are not in the runs themselves, for each run, starts included."""
    furnish(sweeps.folder)
    command = ("bench", "dot_ln", "--seeds", str(count), *options(2))
    told = []
    for name, more in (("one process", ()), ("ray", ("--cluster", "ray"))):
        start = time.monotonic()
        output = sweeps(*command, "--runs", name, *more, timeout=1500)
        seconds = time.monotonic() - start
        assert output.returncode == 0, output.stderr
        runs = load_all(find_results([sweeps.folder / name]))
        assert len(runs) == count
        own = sum(run.result.wall_seconds for run in runs)
        slots = int(re.search(r"(\d+) at a time", output.stderr)[1]) if more else 1
        each = (seconds * min(slots, count) - own) / count
        assert each > 0
        told.append(f"{name} {seconds:.1f} s ({slots} at a time, {own / count:.2f} s in a run, {each:.2f} s beside it)")
    figure(f"cost of {count} runs", "; ".join(told))
