"""`zoo report`."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.cli import options
from zoo.utils.gcpause import paused_gc

OUT, FILE = Path("report"), Path("report.html")


@click.command()
@options.runs_argument
@click.option(
    "--out", type=click.Path(path_type=Path), default=OUT, show_default=True,
    help="The page's folder; an older report there is replaced. With --single-file, the file.  [then: report.html]",
)  # fmt: skip
@click.option("--single-file", is_flag=True, help="One HTML file, as a notebook shows it, without the pages of runs.")
@options.baseline
@options.allow_dirty
@paused_gc()
def report(runs: tuple[Path, ...], out: Path, single_file: bool, baseline: str | None, allow_dirty: bool) -> None:
    """Make a web page of the stored results under RUNS (folders or files; default: runs) that opens from disk.

    Leaderboards with filters, accuracy against cost, learning curves, speeds, and a page for every run. It needs no
    network and no server: open index.html, or copy the folder anywhere.
    """
    from zoo.results.begun import lines
    from zoo.results.reading import read_runs
    from zoo.utils.text import counted
    from zoo.web.writer import check_out, check_packages, write_report

    check_packages()
    if single_file:
        from zoo.web.single import check_file, write_single

        file = FILE if out == OUT else out
        check_file(file)
        stored = read_runs(runs or options.RUNS, matrix=True)
        count, size = write_single(stored, file, baseline, allow_dirty, stored.begun)
        click.echo(f"wrote {file}: {counted(count, 'run')}, {size / 1e6:.1f} MB")
    else:
        check_out(out.absolute())
        stored = read_runs(runs or options.RUNS, matrix=True)
        count = write_report(stored, out, baseline, allow_dirty, stored.begun)
        click.echo(f"wrote {out / 'index.html'}: {counted(count, 'run')}")
    for line in lines(stored.begun):
        click.echo(line, err=True)
