"""The command ``gbi``: open, run and store the course's notebooks, hand them out, list its data, repeat its results.

Each handler imports what it needs itself: ``gbi lab`` has JupyterLab on its way before PyTorch could be loaded.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from gbi_helpers.course import notebooks
from gbi_helpers.experiments import STUDIES
from gbi_helpers.files import DataError

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from gbi_helpers.course.execution import Execution

Handler = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 failed, 2 wrong use (130 stopped by Ctrl-C)."""
    for stream in (sys.stdout, sys.stderr):  # a pipe that cannot hold a sign gets a question mark, not an error
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    arguments = _parser().parse_args(argv)
    try:
        return arguments.handler(arguments)
    except (ValueError, OSError, ImportError, DataError) as error:
        # the text of an OSError with a number begins with that number
        told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        place = getattr(error, "filename", None)
        print(f"gbi: {told}{f': {place}' if place else ''}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("gbi: stopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gbi", description=__doc__.replace("``", ""))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, handler: Handler, what: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
        command.set_defaults(handler=handler)
        return command

    lab = add("lab", _lab, "open the course in JupyterLab, at the start page or at NOTEBOOK")
    lab.add_argument("notebook", metavar="NOTEBOOK", nargs="?", default=notebooks.START, help=OWN)
    lab.add_argument("--no-browser", action="store_true", help="only print the address to open")
    lab.add_argument("--port", type=int, default=8888, help="first port to try (default: %(default)s)")

    run = add("run", _run, "execute notebooks and write executed copies and HTML pages")
    run.add_argument("notebooks", metavar="NOTEBOOK", nargs="*", help=OWN)
    run.add_argument("--out", type=Path, help="folder to write to (default: build/ in the course's folder)")

    store = add("store", _store, "execute notebooks in the state of a fresh clone and store their outputs in place")
    store.add_argument("notebooks", metavar="NOTEBOOK", nargs="*", help=OWN)

    site = add("site", _site, "write the course as a static site from the stored notebooks; nothing is executed")
    site.add_argument("out", metavar="OUT", type=Path, help="folder to write: a new one, or that of an older site")
    site.add_argument(
        "--url", metavar="URL", type=_accepted("check_url"), help="its address: adds a card and a sitemap"
    )

    student = add("student", _student, "write the students' copies: no solutions, no outputs; nothing is overwritten")
    student.add_argument("out", metavar="OUT", type=Path, help="folder to write to")
    student.add_argument("notebooks", metavar="NOTEBOOK", nargs="*", help=WHICH)

    teach = add("teach", _teach, "write nbgrader's source: solutions between its marks, checks that give points")
    teach.add_argument("out", metavar="OUT", type=Path, help="folder to write to (nbgrader: source/ASSIGNMENT)")
    teach.add_argument("notebooks", metavar="NOTEBOOK", nargs="*", help=WHICH)

    data = add("data", _data, "list the data sets, or fetch one")
    get = data.add_subparsers(metavar="get NAME").add_parser("get", help="fetch a set", description="Fetch a data set.")
    get.add_argument("name", metavar="NAME", help="the set's name as the list gives it")
    get.set_defaults(handler=_get)

    reproduce = add("reproduce", _reproduce, "measure again what the course's records hold; goes on where it stopped")
    reproduce.add_argument("study", choices=[*STUDIES, "all"], help=f"one of {', '.join(STUDIES)}, or all")
    reproduce.add_argument("--seeds", type=_positive, metavar="N", help="how many (default: as many as are shipped)")
    reproduce.add_argument("--rows", nargs="+", metavar="NAME", help="only these rows (--list names them)")
    reproduce.add_argument("--size", metavar="SIZE", help="small: minutes for all of it; mnist: full; language: babylm")
    reproduce.add_argument("--list", action="store_true", help="rows, what of them is measured already, and minutes")
    reproduce.add_argument("--dry-run", action="store_true", help="only say how many minutes it will take")
    reproduce.add_argument("--workers", metavar="N", help="so many processes, or a Dask scheduler's tcp://HOST:PORT")

    links = add("links", _links, "write the repository's address into pyproject.toml, README.md and the notebooks")
    links.add_argument("repository", metavar="OWNER/NAME", type=_accepted("check_repository"))
    return parser


WHICH = "a path, a name or a number, such as 05 (default: all, or the start page)"
OWN = f"{WHICH}; copies in the current folder come before the course's own"


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def _accepted(by: str) -> Callable[[str], str]:
    """An argument's type: its text, if the function ``by`` of ``publish`` raises nothing."""

    def accept(text: str) -> str:
        from gbi_helpers.course import publish

        try:
            return getattr(publish, by)(text) and text
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return accept


# No pop-up about news over the start page, no look for updates: nothing asks the network.
QUIET = ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]


def lab_command(notebook: Path, port: int, *, browser: bool = True) -> list[str]:
    """The command that opens ``notebook`` in JupyterLab, with its course's folder as the root where it is in one."""
    path = notebook.resolve()
    course = path.parent.parent
    root = course if (course / "gbi_helpers").is_dir() or path.parent.name == "notebooks" else path.parent
    url = f"/lab/tree/{quote(path.relative_to(root).as_posix())}"
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}", f"--LabApp.default_url={url}"]
    command += QUIET + [f"--port={port}"] + ([] if browser else ["--no-browser"])
    if getattr(os, "geteuid", lambda: 1)() == 0:  # Windows has no geteuid
        command.append("--allow-root")
    return command


def _lab(arguments: argparse.Namespace) -> int:
    from gbi_helpers.course.trust import own_beside, start_trusting

    chosen = notebooks.select([arguments.notebook], own=True)[0]
    start_trusting(own_beside(chosen))
    command = lab_command(chosen, arguments.port, browser=not arguments.no_browser)
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(command[0], command)  # JupyterLab takes this process's place, its memory and its Ctrl-C
    return subprocess.call(command)


def _run(arguments: argparse.Namespace) -> int:
    from gbi_helpers.course import execution

    chosen = notebooks.select(arguments.notebooks, own=True)
    out = arguments.out or _course_of(chosen[0]) / "build"
    done = execution.run(chosen, out)
    _report(done)
    print(f"Executed copies and pages are in {out}.")
    return int(any(one.failure for one in done))


def _course_of(notebook: Path) -> Path:
    folder = notebook.resolve().parent
    return folder.parent if folder.name == "notebooks" else Path.cwd()


def _report(done: Sequence[Execution]) -> None:
    """Print a row for each notebook, and each failure on stderr."""
    width = max(len(one.path.name) for one in done)
    print(f"{'notebook':{width}}  seconds  peak MB")
    for one in done:
        peak = "failed" if one.failure else f"{one.peak_mb:.0f}"
        print(f"{one.path.name:{width}}  {one.seconds:7.1f}  {peak:>7}")
    sys.stdout.flush()
    for one in done:
        if one.failure:
            print(f"gbi: {one.failure}", file=sys.stderr)


def _store(arguments: argparse.Namespace) -> int:
    from gbi_helpers.course import execution

    done = [execution.store(path) for path in notebooks.select(arguments.notebooks, own=True)]
    _report(done)
    return int(any(one.failure for one in done))


def _site(arguments: argparse.Namespace) -> int:
    from gbi_helpers.course import publish, site

    repository = publish.repository(notebooks.course_folder())
    written = site.write_site(notebooks.select(), arguments.out, arguments.url or "", repository)
    size = sum(path.stat().st_size for path in written) / 1e6
    print(f"{len(written)} files ({size:.1f} MB) are in {arguments.out}: open index.html there.")
    return 0


def _student(arguments: argparse.Namespace) -> int:
    from gbi_helpers.course.coursework import student_version

    return _hand_out(arguments, student_version)


def _teach(arguments: argparse.Namespace) -> int:
    from gbi_helpers.course.coursework import teacher_version

    return _hand_out(arguments, teacher_version)


def _hand_out(arguments: argparse.Namespace, version: Callable[[NotebookNode], NotebookNode]) -> int:
    from gbi_helpers.course.coursework import write_copies

    written, differ = write_copies(notebooks.select(arguments.notebooks), arguments.out, version)
    print(f"{len(written)} written to {arguments.out}.")
    for path in differ:
        print(f"gbi: {path} is there already and differs: kept. Move it away to get a new copy.", file=sys.stderr)
    return int(bool(differ))


def _data(arguments: argparse.Namespace) -> int:
    from gbi_helpers.data import catalogue

    for row in catalogue():
        print(f"{row.name} (gbi data get {row.key})")
        checked = f", checksum {row.checksum}" if row.checksum else ""
        print(f"  found      {row.found} ({row.bytes / 1e6:.1f} MB){checked}")
        print(f"  used here  {row.uses}")
        print(f"  licence    {row.licence}")
        if row.problem:
            print(f"  problem    {row.problem}")
    return 0


def _get(arguments: argparse.Namespace) -> int:
    from gbi_helpers.data import fetch

    print(f"{arguments.name} is in {fetch(arguments.name)}.")
    return 0


def _reproduce(arguments: argparse.Namespace) -> int:
    from gbi_helpers.experiments import reproducing

    wanted = reproducing.asked(arguments.study, arguments.size, arguments.seeds, arguments.rows)
    if arguments.list:
        return reproducing.list_rows(wanted)
    words = [arguments.study, *([arguments.size] if arguments.size else [])]
    return reproducing.reproduce(wanted, " ".join(["gbi reproduce", *words]), arguments.workers, arguments.dry_run)


def _links(arguments: argparse.Namespace) -> int:
    from gbi_helpers.course import publish

    changed = publish.link(arguments.repository, notebooks.course_folder())
    print("\n".join(f"changed {path}" for path in changed) or "All links are there already.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
