"""Everything that the two image chapters 06 and 07 show: ``gbi reproduce image --seeds N``."""

from __future__ import annotations

import sys
from pathlib import Path

from gbi_helpers.data import DataError
from gbi_helpers.experiments.cifar import study as cifar
from gbi_helpers.experiments.ood import study as ood


def reproduce(seeds: int) -> list[Path]:
    """Train and measure again what notebooks 06 and 07 show, for seeds 0 .. ``seeds`` - 1; the records written.

    Both parts show their progress and go on where they were stopped. CIFAR-100 does not come with the course: where it
    is not at hand, its part is left out and a sentence on stderr says how to get it.
    """
    records = [ood.reproduce(seeds)]
    try:
        records.append(cifar.reproduce(seeds))
    except DataError as error:
        print(f"Chapter 07 was left out: {error}", file=sys.stderr)
    return records
