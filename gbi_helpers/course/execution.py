"""Running the notebooks: executed copies and pages, and outputs stored in the state of a fresh clone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from gbi_helpers.course.export import to_html
from gbi_helpers.course.notebooks import read, write
from gbi_helpers.files import try_writing
from gbi_helpers.progress import progress_bar

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
UNSTORED = "unstored"  # the tag of a cell whose output is too large for a notebook


TIMEOUT = 900  # seconds a single cell may take


# The state of a fresh clone, in which outputs are stored and tested. A None takes the variable away.
PLAIN: dict[str, str | None] = {
    "GBI_PROFILE": "quick",
    "GBI_OFFLINE": "1",
    "GBI_DATA_DIR": None,
    "GBI_DEVICE": None,
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


NO_BARS = """\
from functools import partialmethod

from tqdm.notebook import tqdm_notebook

tqdm_notebook.__init__ = partialmethod(tqdm_notebook.__init__, disable=True)
"""


@dataclasses.dataclass(frozen=True)
class Execution:
    """What one execution left: the notebook with outputs, wall seconds, the kernel's peak memory (MB), the failure."""

    path: Path
    notebook: NotebookNode
    seconds: float
    peak_mb: float
    failure: str = ""


class _ThisPython(KernelSpecManager):
    """Starts the Python that runs this command, whatever kernels the user has registered under the same name."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The one kernel there is."""
        argv = [sys.executable, "-m", "ipykernel_launcher", "--log-level=ERROR", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3 (ipykernel)", language="python")


@contextlib.contextmanager
def environment(*, plain: bool = False) -> Iterator[dict[str, str]]:
    """Environment variables for a headless kernel: no progress bars; with ``plain``, the state of a fresh clone.

    IPython's settings (and, if plain, the data cache) are in a temporary folder, so that neither the user's settings
    nor a bar that appears only on a slow machine changes an output.
    """
    with tempfile.TemporaryDirectory(prefix="gbi-") as folder:
        startup = Path(folder) / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "00-no-bars.py").write_text(NO_BARS)
        merged: dict[str, str | None] = {**os.environ, "IPYTHONDIR": folder}
        if plain:
            merged |= {**PLAIN, "GBI_CACHE_DIR": str(Path(folder) / "cache")}
        yield {name: value for name, value in merged.items() if value is not None}


def execute(path: Path, *, plain: bool = False) -> Execution:
    """Execute a notebook headless in a fresh kernel, up to its first failing cell.

    ``plain`` goes to :func:`environment`. A failure is told in ``.failure``, not raised.
    """
    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_spec_manager=_ThisPython(), kernel_name="python3"),
        timeout=TIMEOUT,
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.resolve().parent)}},
    )
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        failure = _start_kernel(client, stack, path, plain) or _execute_cells(client, path)
        seconds = time.perf_counter() - started
        peak = 0.0 if failure else _peak_mb(client)
    return Execution(path, notebook, seconds, peak, failure)


def _start_kernel(client: NotebookClient, stack: contextlib.ExitStack, path: Path, plain: bool) -> str:
    """Start a kernel that ends with the stack; returns why it does not start, or an empty string."""
    variables = stack.enter_context(environment(plain=plain))
    try:
        stack.enter_context(client.setup_kernel(env=variables))
    except Exception as error:  # of Jupyter, of ZeroMQ or of the system
        return f"{path.name}: its kernel does not start ({error}): install the course and ipykernel again."
    return ""


def _execute_cells(client: NotebookClient, path: Path) -> str:
    """Execute cell after cell; returns what failed, or an empty string."""
    number = 0
    for index, cell in enumerate(progress_bar(client.nb.cells, desc=path.stem, unit="cell")):
        number += cell.cell_type == "code"
        try:
            client.execute_cell(cell, index)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            return f"{path.name}, code cell {number} ({_first_line(cell.source)}): {_last_line(error)}"
    return ""


def _first_line(source: str) -> str:
    return next((line.strip() for line in source.splitlines() if line.strip()), "")


def _last_line(error: Exception) -> str:
    if isinstance(error, CellExecutionError):
        return f"{error.ename}: {error.evalue}".strip().splitlines()[-1]
    if isinstance(error, CellTimeoutError):
        return f"it took longer than {TIMEOUT} seconds."
    return "the kernel died, perhaps because the memory did not suffice."


def _peak_mb(client: NotebookClient) -> float:
    """Peak resident memory of the kernel in MB (10^6 bytes), or 0 where the system does not tell."""
    asked = "(__import__('resource').getrusage(0).ru_maxrss, __import__('sys').platform)"
    if sys.platform == "win32":
        asked = "(__import__('psutil').Process().memory_info().peak_wset, 'win32')"
    assert client.kc is not None
    reply: Any = client.wait_for_reply(client.kc.execute("", silent=True, user_expressions={"peak": asked}))
    told = (reply or {}).get("content", {}).get("user_expressions", {}).get("peak", {})
    if told.get("status") != "ok":
        return 0.0
    amount, platform = re.findall(r"\w+", told["data"]["text/plain"])
    return int(amount) * (1024 if platform == "linux" else 1) / 1e6


def run(paths: Iterable[Path], out: Path) -> list[Execution]:
    """Execute notebooks and write their executed copies and self-contained HTML pages to ``out``.

    Raises ``ValueError`` where a copy would replace a notebook itself or the copy of another, or where ``out`` cannot
    be written (a course that others share often cannot), before anything runs.
    """
    paths = list(dict.fromkeys(paths))
    if len({path.name for path in paths}) < len(paths):
        raise ValueError("Two of the notebooks have one name, and so would their copies: run them one at a time.")
    for path in paths:
        if (out / path.name).resolve() == path.resolve():
            raise ValueError(f"{path} would be overwritten by its executed copy: choose another folder with --out.")
    try:
        try_writing(out)
    except OSError as error:
        raise ValueError(f"{out} cannot be written ({error.strerror}): choose another folder with --out.") from error
    done = []
    for path in progress_bar(paths, desc="notebooks", unit="notebook"):
        execution = execute(path)
        _clean(execution.notebook)
        write(execution.notebook, out / path.name)
        to_html(execution.notebook, out / f"{path.stem}.html", path.resolve().parent)
        done.append(execution)
    return done


def store(path: Path) -> Execution:
    """Execute a notebook in the plain state and store it in place, outputs and all; not if a cell fails.

    Raises ``ValueError`` when an output would carry an error, or a path of this machine.
    """
    execution = execute(path, plain=True)
    if execution.failure:
        return execution
    _clean(execution.notebook)
    _refuse(execution.notebook, path)
    write(execution.notebook, path)
    return execution


def _clean(notebook: NotebookNode) -> None:
    """Take away what only a live kernel can show, and what differs between machines."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
            **{key: value for key, value in notebook.metadata.items() if key in ("title", "authors")},
        }
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            kept = UNSTORED not in cell.metadata.get("tags", [])
            cell.outputs = [output for output in cell.outputs if kept and _without_view(output)]


def _without_view(output: NotebookNode) -> bool:
    """Drop the widget view of an output; False if nothing but the widget's name would be left."""
    data = output.get("data", {})
    return data.pop(WIDGET_VIEW, None) is None or bool(set(data) - {"text/plain"})


def _refuse(notebook: NotebookNode, path: Path) -> None:
    own = {str(Path.home()), str(path.resolve().parent.parent), sys.prefix, tempfile.gettempdir()} - {"/"}
    number = 0
    for cell in notebook.cells:
        number += cell.cell_type == "code"
        outputs = cell.get("outputs", [])
        if any(output.output_type == "error" for output in outputs):
            raise ValueError(f"{path.name} is not stored: code cell {number} ends in an error.")
        text = re.sub(r"[A-Za-z0-9+/=]{200,}", "", json.dumps(outputs, ensure_ascii=False))  # pictures hold any letters
        for folder in own:
            if re.search(re.escape(json.dumps(folder)[1:-1]) + r"(?![\w-])", text):
                raise ValueError(
                    f"{path.name} is not stored: code cell {number} shows a path of this machine ({folder})."
                )
