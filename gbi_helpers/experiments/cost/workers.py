"""What workers bring: ``python -m gbi_helpers.experiments.cost.workers``.

The study of chapter 05, several seeds, by one process and then by workers of one thread each, from empty shelves, in
the same run. Efficiency is the speed-up over the number of workers; their start, and opening the data in each, counts.
Exit code 1 if it is below its bound.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gbi_helpers.experiments.mnist.study import STUDY
from gbi_helpers.experiments.runner import run
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.workers import connected
from gbi_helpers.meter import timed


def seconds(folder: Path, seeds: int, rows: Sequence[str] | None, size: str, workers: int) -> float:
    """Seconds that the study takes; ``workers=0``: in this process."""
    shelf = Shelf(folder / f"by {workers}")
    if not workers:
        return timed(lambda: run(STUDY, range(seeds), rows, variant=size, shelf=shelf))[0]

    def there() -> None:
        with connected(str(workers)) as client:
            run(STUDY, range(seeds), rows, variant=size, shelf=shelf, workers=client)

    return timed(there)[0]


def main() -> int:
    """Print both times, their ratio, and the efficiency."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rows", nargs="+", help="default: all")
    parser.add_argument("--size", default="slice")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--at-least", type=float, default=0.85, help="bound on the efficiency")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        alone, shared = (
            seconds(Path(folder), args.seeds, args.rows, args.size, workers) for workers in (0, args.workers)
        )
    found = alone / shared / args.workers
    print(f"one process {alone:.0f} s, {args.workers} workers {shared:.0f} s: {alone / shared:.2f} times as fast")
    print(f"efficiency {found:.2f}, bound {args.at_least}")
    return int(found < args.at_least)


if __name__ == "__main__":
    sys.exit(main())
