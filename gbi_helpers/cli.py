"""The command ``gbi``: open, run and store the course's notebooks, hand them out, list its data, repeat its results."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from nbformat.sign import NotebookNotary

from gbi_helpers.course import coursework, execution, notebooks, publish
from gbi_helpers.data import DataError, catalogue, fetch

Handler = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 failed, 2 wrong use (130 stopped by Ctrl-C)."""
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
    lab.add_argument("notebook", metavar="NOTEBOOK", nargs="?", default=notebooks.START, help=WHICH)
    lab.add_argument("--no-browser", action="store_true", help="only print the address to open")
    lab.add_argument("--port", type=int, default=8888, help="first port to try (default: %(default)s)")

    run = add("run", _run, "execute notebooks and write executed copies and HTML pages")
    run.add_argument("notebooks", metavar="NOTEBOOK", nargs="*", help=WHICH)
    run.add_argument("--out", type=Path, help="folder to write to (default: build/ in the course's folder)")

    store = add("store", _store, "execute notebooks in the state of a fresh clone and store their outputs in place")
    store.add_argument("notebooks", metavar="NOTEBOOK", nargs="*", help=WHICH)

    student = add("student", _student, "write the students' copies: no solutions, no outputs; nothing is overwritten")
    student.add_argument("out", metavar="OUT", type=Path, help="folder to write to")
    student.add_argument("notebooks", metavar="NOTEBOOK", nargs="*", help=WHICH)

    data = add("data", _data, "list the data sets, or fetch one: gbi data get NAME")
    data.add_argument("get", nargs="?", choices=["get"], help="fetch a set")
    data.add_argument("name", metavar="NAME", nargs="?", help="the set's name as the list gives it")
    data.set_defaults(usage=data.error)

    reproduce = add("reproduce", _reproduce, "train and measure again what the course's records hold")
    reproduce.add_argument("what", choices=list(STUDIES), help="; ".join(f"{k}: {v}" for k, v in STUDIES.items()))
    reproduce.add_argument("--seeds", type=_positive, default=5, metavar="N", help="how many (default: %(default)s)")
    reproduce.add_argument("--size", choices=["slice", "full"], help="of mnist (default: slice)")
    reproduce.add_argument("--data", choices=["packages", "babylm"], help="of language (default: both, as far as here)")
    reproduce.set_defaults(usage=reproduce.error)

    links = add("links", _links, "write the repository's address into pyproject.toml, README.md and the notebooks")
    links.add_argument("repository", metavar="OWNER/NAME", type=_repository)
    return parser


STUDIES = {"mnist": "chapter 05", "image": "chapters 06 and 07", "language": "chapter 08"}
WHICH = "a path, a name or a number, such as 05 (default: all, or the start page)"


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def _repository(text: str) -> str:
    try:
        publish.check_repository(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def lab_command(notebook: Path, port: int, *, browser: bool = True) -> list[str]:
    """The command that opens ``notebook`` in JupyterLab, with its course's folder as the root where it is in one."""
    path = notebook.resolve()
    course = path.parent.parent
    root = course if (course / "gbi_helpers").is_dir() or path.parent.name == "notebooks" else path.parent
    url = f"/lab/tree/{quote(path.relative_to(root).as_posix())}"
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}", f"--LabApp.default_url={url}"]
    command += [f"--port={port}"] + ([] if browser else ["--no-browser"])
    if getattr(os, "geteuid", lambda: 1)() == 0:  # Windows has no geteuid
        command.append("--allow-root")
    return command


def _lab(arguments: argparse.Namespace) -> int:
    chosen = notebooks.select([arguments.notebook])[0]
    for path in sorted({chosen, *chosen.parent.glob("*.ipynb")}):
        with contextlib.suppress(Exception):  # untrusted outputs show less, but nothing that would stop the course
            NotebookNotary().sign(notebooks.read(path))
    command = lab_command(chosen, arguments.port, browser=not arguments.no_browser)
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(command[0], command)  # JupyterLab takes this process's place, its memory and its Ctrl-C
    return subprocess.call(command)


def _run(arguments: argparse.Namespace) -> int:
    chosen = notebooks.select(arguments.notebooks)
    out = arguments.out or _course_of(chosen[0]) / "build"
    done = execution.run(chosen, out)
    _report(done)
    print(f"Executed copies and pages are in {out}.")
    return int(any(one.failure for one in done))


def _course_of(notebook: Path) -> Path:
    folder = notebook.resolve().parent
    return folder.parent if folder.name == "notebooks" else Path.cwd()


def _report(done: Sequence[execution.Execution]) -> None:
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
    done = [execution.store(path) for path in notebooks.select(arguments.notebooks)]
    _report(done)
    return int(any(one.failure for one in done))


def _student(arguments: argparse.Namespace) -> int:
    written, differ = coursework.write_students(notebooks.select(arguments.notebooks), arguments.out)
    print(f"{len(written)} written to {arguments.out}.")
    for path in differ:
        print(f"gbi: {path} is there already and differs: kept. Move it away to get a new copy.", file=sys.stderr)
    return int(bool(differ))


def _data(arguments: argparse.Namespace) -> int:
    if arguments.get:
        if not arguments.name:
            arguments.usage("which set? gbi data get NAME; 'gbi data' lists the names")
        print(f"{arguments.name} is in {fetch(arguments.name)}.")
        return 0
    for row in catalogue():
        print(f"{row.name} (gbi data get {row.key})")
        print(f"  found      {row.found} ({row.bytes / 1e6:.1f} MB), checksum {row.checksum}")
        print(f"  used here  {row.uses}")
        print(f"  licence    {row.licence}")
        if row.problem:
            print(f"  problem    {row.problem}")
    return 0


def _reproduce(arguments: argparse.Namespace) -> int:
    what, size, data = arguments.what, arguments.size, arguments.data
    if (size and what != "mnist") or (data and what != "language"):
        arguments.usage("--size goes with mnist, and --data with language")
    for path in _study(what, arguments.seeds, size, data):
        print(f"The record is in {path}.")
    return 0


def _study(what: str, seeds: int, size: str | None, data: str | None) -> Sequence[Path]:
    """Run one of STUDIES; the records it wrote."""
    if what == "mnist":
        from gbi_helpers.experiments.mnist import study as mnist

        return [mnist.reproduce(seeds, size or "slice")]
    if what == "image":
        from gbi_helpers.experiments import image

        return image.reproduce(seeds)
    from gbi_helpers.experiments.language import study as language

    return language.reproduce(seeds, data)


def _links(arguments: argparse.Namespace) -> int:
    changed = publish.link(arguments.repository, notebooks.course_folder())
    print("\n".join(f"changed {path}" for path in changed) or "All links are there already.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
