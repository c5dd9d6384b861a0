"""Rows on other processes and machines, through Dask's scheduler: by name, and sent back.

A worker finds study and row by name, keeps what it makes on its own shelf, and sends rows back. On machines that share
a folder (one ``GBI_CACHE_DIR`` for all) every worker finds what another made; elsewhere a network travels with the
rows that need it, as far as it is small enough.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from logging import CRITICAL
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gbi_helpers.experiments.bench import Bench
from gbi_helpers.experiments.shelf import Shelf
from gbi_helpers.experiments.study import Task
from gbi_helpers.files import locked, part_file
from gbi_helpers.runtime import device

if TYPE_CHECKING:
    from distributed import Client

MISSING = "Workers need Dask's scheduler, which is not installed: pip install 'gbi-helpers[cluster]'."
CARRIED = 64_000_000  # bytes of a network's files up to which they are sent to the workers that need it
# Dask's profiler looks at a worker a hundred times a second, which takes a tenth of its time.
QUIET = {"distributed.worker.profile.enabled": False}
PATIENCE = 10  # seconds that a scheduler has to answer
ONE_AT_A_TIME = threading.Lock()  # a worker of several threads, too: they would share PyTorch's random numbers
Files = dict[str, bytes]
# Module, variant, folder of the shelf ("": the worker's own), code, data, kind of device.
Address = tuple[str, str, str, str, str, str]


@contextlib.contextmanager
def connected(workers: str) -> Iterator[Client]:
    """A client of so many processes started here ("2"), or of the scheduler at an address ("tcp://HOST:PORT").

    Raises ``ImportError`` without the extra ``cluster``, ``ConnectionError`` where no scheduler answers, ``ValueError``
    for what is neither a number nor an address.
    """
    try:
        import dask
        import distributed
    except ImportError as error:
        raise ImportError(MISSING) from error
    if workers.isdecimal() and int(workers):
        with dask.config.set(QUIET):
            with _interrupts_held():
                cluster = distributed.LocalCluster(
                    n_workers=int(workers),  # by name: the first argument is another one
                    threads_per_worker=1,
                    memory_limit=None,
                    dashboard_address=":0",
                    silence_logs=CRITICAL,
                )
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


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until the end; the processes started in here, to whom a terminal sends it too, never hear it.

    So this process alone ends them, and says so in one line. (Windows has no such masks.)
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # started later, it would take the mask away from those that come after it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def measure_there(
    client: Client, bench: Bench, wanted: Sequence[Task], done: Callable[[Task], None], lost: dict[str, Exception]
) -> None:
    """Have the workers of a client measure what is missing; each row is on this shelf as soon as it is back.

    A row that fails does not take the others with it. ``lost``: where rows are entered that failed, or whose data the
    workers do not have.
    Raises ``ConnectionError`` where workers, or the scheduler, are gone for good, and the ``OSError`` of a worker's
    disk, when all are back.
    """
    from distributed import as_completed

    if not client.scheduler_info()["workers"]:
        print("No worker is there yet: waiting for the first.", file=sys.stderr)
    here = client.cluster is not None  # processes of this machine work on this very shelf
    folder = str(bench.shelf.folder) if here else ""
    address = (bench.study.module, bench.variant, folder, version(), bench.world.digest, device().type)
    rows, networks = _submitted(client, bench, address, [task for task in wanted if bench.missing(task)])
    stopped: list[OSError] = []
    try:
        for future in as_completed(list(rows)):
            try:
                bench.keep(rows[future].row, future.result())
                done(rows[future])
            except Exception as error:  # whatever a row may raise; the others go on
                told = _told(error)
                if isinstance(told, OSError):
                    stopped.append(told)
                else:
                    lost[rows[future].row] = told
        for future in networks if not (stopped or lost) else ():  # for whoever ships them, or counts their seconds
            _put_all(bench.shelf, future.result())
    finally:
        client.cancel([*rows, *networks])
    if stopped:
        raise stopped[0]


def _submitted(
    client: Client, bench: Bench, address: Address, left: Sequence[Task]
) -> tuple[dict[Any, Task], list[Any]]:
    """Futures of the tasks, each after those of the networks that it needs; and the latter."""
    needs = {task: [(need, s) for s in task.seeds for need in bench.study.rows[task.row].needs] for task in left}
    networks = {
        key: client.submit(train_there, address, *key, pure=False)
        for key in dict.fromkeys(key for keys in needs.values() for key in keys)
    }
    rows = {
        client.submit(row_there, address, task, *(networks[key] for key in needs[task]), pure=False): task
        for task in left
    }
    return rows, list(networks.values())


def _told(error: Exception) -> Exception:
    """Dask's own errors in one sentence; a row's error as it is."""
    if type(error).__module__.partition(".")[0] in ("distributed", "concurrent", "asyncio"):
        return ConnectionError(f"The cluster lost workers or its scheduler ({type(error).__name__}): start it again.")
    return error


def row_there(address: Address, task: Task, *carried: Files) -> dict[int, Any]:
    """On a worker: the values of a task by seed; the networks that it needs came with it, or lie on the shelf."""
    with ONE_AT_A_TIME:
        bench = bench_at(address)
        for files in carried:
            _put_all(bench.shelf, files)
        with locked(bench.place(task.row, task.seeds[0])):
            return bench.measure(task)


def train_there(address: Address, network: str, seed: int) -> Files:
    """On a worker: train a network, unless it lies on the shelf; its files, where other workers would lack them."""
    with ONE_AT_A_TIME:
        bench = bench_at(address)
        bench.train(network, seed)
        files = bench.files(network, seed)
    shared, size = bool(address[2]), sum(path.stat().st_size for path in files)
    return {} if shared or size > CARRIED else {path.name: path.read_bytes() for path in files}


@functools.lru_cache(maxsize=1)
def bench_at(address: Address) -> Bench:
    """A worker's bench. Raises ``ValueError`` where its package, data or kind of device are not those of who asks."""
    keep_memory()
    module, variant, folder, code, data, kind = address
    if code != version():
        raise ValueError(
            "A worker has another version of gbi_helpers than this process: install the same on all, and start the "
            "workers anew."
        )
    if kind != device().type:
        raise ValueError(
            f"A worker computes on another kind of device ({device().type}) than this process ({kind}), which gives "
            "other digits: set GBI_DEVICE to the same on all."
        )
    study = importlib.import_module(module).STUDY
    bench = Bench(study, variant, Shelf(Path(folder)) if folder else Shelf.of(study.name))
    if bench.world.digest != data:
        raise ValueError("A worker has other data than this process: give all the same GBI_DATA_DIR, and packages.")
    return bench


@functools.lru_cache(maxsize=1)
def keep_memory() -> None:
    """Have glibc keep what is freed: as Dask starts a worker, each tensor would be paid for in page faults, twice over.

    (The environment of its workers sets MALLOC_TRIM_THRESHOLD_, and with any value there malloc stops learning.)
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # no glibc: nothing to mend
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at its largest
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


@functools.lru_cache(maxsize=1)
def version() -> str:
    """A mark of all code of the package."""
    root = Path(__file__).parents[1]
    found = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + path.read_bytes().replace(b"\r\n", b"\n"))
    return found.hexdigest()[:12]


def _put_all(shelf: Shelf, files: Files) -> None:
    """Put what was sent on the shelf, where it is not there already; a record before its network.

    For where the weights lie both are taken to be there, as :meth:`Shelf.network` leaves them.
    """
    for name, content in sorted(files.items(), key=lambda sent: sent[0].endswith(".safetensors")):
        path = shelf.folder / name
        if not path.exists():
            with part_file(path) as part:
                part.write_bytes(content)
