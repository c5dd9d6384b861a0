"""Rows on other processes and machines, through Dask's scheduler: by name, and sent back.

A worker finds study and row by name, keeps what it makes on its own shelf, and sends rows back. On machines that share
a folder (one ``GBI_CACHE_DIR`` for all) every worker finds what another made; elsewhere a network travels with the
rows that need it, as far as it is small enough.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gbi_helpers.experiments.bench import Bench
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import Task
from gbi_helpers.files import locked, part_file

if TYPE_CHECKING:
    from distributed import Client

MISSING = "Workers need Dask's scheduler, which is not installed: pip install 'gbi-helpers[cluster]'."
CARRIED = 64_000_000  # bytes of a network's files up to which they are sent to the workers that need it
PATIENCE = 10  # seconds that a scheduler has to answer
Files = dict[str, bytes]
Address = tuple[str, str, str, str]  # module, variant, folder of the shelf ("": the worker's own), version


@contextlib.contextmanager
def connected(workers: str) -> Iterator[Client]:
    """A client of so many processes started here ("2"), or of the scheduler at an address ("tcp://HOST:PORT").

    Raises ``ImportError`` without the extra ``cluster``, ``ConnectionError`` where no scheduler answers, ``ValueError``
    for what is neither a number nor an address.
    """
    try:
        import distributed
    except ImportError as error:
        raise ImportError(MISSING) from error
    if workers.isdecimal() and int(workers):
        cluster = distributed.LocalCluster(int(workers), threads_per_worker=1, dashboard_address=":0")
        with cluster, distributed.Client(cluster) as client:
            yield client
        return
    if "://" not in workers:
        raise ValueError(f"workers is '{workers}': give a number of processes, or an address as tcp://HOST:PORT.")
    try:
        client = distributed.Client(workers, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"No scheduler answers at {workers}: is one running there ('dask scheduler')?") from error
    with client:
        yield client


def measure_there(client: Client, bench: Bench, wanted: Sequence[Task], done: Callable[[Task], None]) -> None:
    """Have the workers of a client measure what is missing; each row is on this shelf as soon as it is back."""
    from distributed import as_completed

    here = client.cluster is not None  # processes of this machine work on this very shelf
    address = (bench.study.module, bench.variant, str(bench.shelf.folder) if here else "", version())
    left = [task for task in wanted if bench.missing(task)]
    needed = {(need, seed) for task in left for need in bench.study.rows[task.row].needs for seed in task.seeds}
    networks = {
        key: client.submit(train_there, address, *key, pure=False) for key in sorted(needed, key=lambda k: k[1])
    }
    futures = {}
    for task in left:
        needs = [networks[need, seed] for need in bench.study.rows[task.row].needs for seed in task.seeds]
        futures[client.submit(row_there, address, task, *needs, pure=False)] = task
    try:
        for future in as_completed(list(futures)):
            task = futures[future]
            bench.keep(task.row, {s: v for s, v in future.result().items() if s in bench.missing(task)})
            done(task)
    finally:
        client.cancel([*futures, *networks.values()])


def row_there(address: Address, task: Task, *carried: Files) -> dict[int, Any]:
    """On a worker: the values of a task by seed; the networks that it needs came with it, or lie on the shelf."""
    bench = bench_at(address)
    for files in carried:
        for name, content in files.items():
            _put(bench.shelf.folder / name, content)
    with locked(bench.place(task.row, task.seeds[0])):
        return bench.measure(task)


def train_there(address: Address, network: str, seed: int) -> Files:
    """On a worker: train a network, unless it lies on the shelf; its files, where other workers would lack them."""
    bench = bench_at(address)
    files = bench.train(network, seed)
    shared, size = bool(address[2]), sum(path.stat().st_size for path in files)
    return {} if shared or size > CARRIED else {path.name: path.read_bytes() for path in files}


def bench_at(address: Address) -> Bench:
    """A worker's bench. Raises ``ValueError`` where its package is not that of whoever asks."""
    module, variant, folder, asked = address
    if asked != version():
        raise ValueError("A worker has another version of gbi_helpers than this process: install the same on all.")
    study = importlib.import_module(module).STUDY
    return Bench(study, variant, Shelf(Path(folder)) if folder else Shelf.of(study.name))


@functools.lru_cache(maxsize=1)
def version() -> str:
    """A mark of all code of the package."""
    root = Path(__file__).parents[1]
    found = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + path.read_bytes().replace(b"\r\n", b"\n"))
    return found.hexdigest()[:12]


def _put(path: Path, content: bytes) -> None:
    if not path.exists():
        with part_file(path) as part:
            part.write_bytes(content)
