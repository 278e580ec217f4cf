"""`zoo report`."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.cli import options
from zoo.utils.gcpause import paused_gc


@click.command()
@options.runs_argument
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("report"), show_default=True,
    help="The page's folder; an older report there is replaced.",
)  # fmt: skip
@options.baseline
@options.allow_dirty
@paused_gc()
def report(runs: tuple[Path, ...], out: Path, baseline: str | None, allow_dirty: bool) -> None:
    """Make a web page of the stored results under RUNS (folders or files; default: runs) that opens from disk.

    Leaderboards with filters, accuracy against cost, learning curves, speeds, and a page for every run. It needs no
    network and no server: open index.html, or copy the folder anywhere.
    """
    from zoo.web.writer import check_out, check_packages, write_report

    check_packages()
    check_out(out.absolute())

    from zoo.results.begun import lines
    from zoo.results.reading import read_runs
    from zoo.utils.text import counted

    stored = read_runs(runs or options.RUNS, matrix=True)
    count = write_report(stored, out, baseline, allow_dirty, stored.begun)
    click.echo(f"wrote {out / 'index.html'}: {counted(count, 'run')}")
    for line in lines(stored.begun):
        click.echo(line, err=True)
