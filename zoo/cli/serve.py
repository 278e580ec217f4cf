"""`zoo serve`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from zoo.cli import options


def _address(ctx: click.Context, param: click.Parameter, host: str) -> str:
    """Raises ``click.BadParameter`` where there is none: the system would take that for all of this machine's."""
    if not host.strip():
        raise click.BadParameter("is empty; give 127.0.0.1, or 0.0.0.0 to accept connections from other machines")
    return host


@click.command()
@options.runs_argument
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0: any free port.",
)
@click.option("--host", default="127.0.0.1", show_default=True, callback=_address, help="Address to listen on.")
@options.baseline
@options.allow_dirty
def serve(runs: tuple[Path, ...], port: int, host: str, baseline: str | None, allow_dirty: bool) -> None:
    """Serve the page of `zoo report` for RUNS (default: runs), updated while a bench runs.

    New epochs and results appear without a reload. Ctrl-C stops the server.
    """
    from zoo.web.writer import check_packages

    check_packages()

    from zoo.utils.files import scratch_folder
    from zoo.web.server import make_server
    from zoo.web.site import Site

    with scratch_folder("zoo-serve") as folder:
        try:
            site = Site(
                runs or [options.RUNS], folder, baseline, lambda problem: options.line(problem.parts), allow_dirty
            )
            with contextlib.closing(site), make_server(site, host, port) as server:
                click.echo(f"http://{host}:{server.server_address[1]}/  (Ctrl-C ends it)")
                server.serve_forever()
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
