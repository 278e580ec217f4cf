"""How many networks of a public repository bench unchanged: ``python benchmarks/strangers.py CHECKOUT REGISTRY``.

CHECKOUT is a folder with the repository's files, REGISTRY a ``registry.yaml`` with a line for each of its builders
(``benchmarks/strangers/``). Each model runs ``zoo bench`` for one step on images of noise, in a process of its own. The
table shows how each ended, with the report of a swap or the one line by which it was refused; then come the totals.
Exit code 1 where a model ended neither in a result nor in a line that names it. The inference speed is that of an empty
network, to save time. ``--norm NORM`` swaps each model's norms first. ``--show`` only builds the models (``zoo show``).
With ``--record FILE`` the same command resumes after an interruption.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

from attempts import BAD, BENCH, DONE, HEAD, REFUSED, SHOW, Record, attempts, workplace

from zoo.registry.entries import read_registry_file


def main() -> int:
    """Print the table and the totals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="folder with the repository's files")
    parser.add_argument("registry", type=Path, help="registry.yaml with a line for each builder")
    parser.add_argument("--classes", type=int, default=10, help="classes of the images")
    parser.add_argument("--model", action="append", help="name or pattern; may be repeated (default: all)")
    parser.add_argument("--norm", default="", help="swap each model's norms for this one")
    parser.add_argument("--show", action="store_true", help="only build the models")
    parser.add_argument("--seconds", type=float, default=600, help="the most that a model may take")
    parser.add_argument("--record", type=Path, help="file of the outcomes so far, which are not repeated")
    chosen = parser.parse_args()
    checkout, registry = chosen.checkout.resolve(), chosen.registry.resolve()
    command = SHOW if chosen.show else BENCH
    record, counts = Record(chosen.record and chosen.record.resolve()), Counter[str]()
    print(HEAD, flush=True)
    with workplace(chosen.classes, checkout):
        shutil.copyfile(registry, "registry.yaml")
        for name in read_registry_file(registry, "").models:
            if any(fnmatch(name, pattern) for pattern in chosen.model or ["*"]):
                model = f"{name}@{chosen.norm}" if chosen.norm else name
                for outcome in attempts(model, [command], record, chosen.seconds):
                    counts[outcome.kind] += 1
                    print(outcome.row, flush=True)
    done = "are built" if chosen.show else "bench a step"
    print(
        f"\n{checkout.name}: {counts[DONE]} of {counts.total()} {done}, {counts[REFUSED]} are refused in one line that "
        f"names them, {counts[BAD]} end otherwise"
    )
    return 1 if counts[BAD] or not counts else 0


if __name__ == "__main__":
    sys.exit(main())
