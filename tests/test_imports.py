"""The order of the package: who may import whom, how long a module is, what is documented; and the linters' word."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gbi_helpers"
LEVELS = (
    {"records", "runtime"},
    {"data", "models"},
    {"training", "inference"},
    {"metrics", "modularity", "theory", "continual"},
    {"plots", "widgets", "claims"},
    {"checks", "experiments", "notebooks", "coursework", "export", "cli"},
)
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "assets" not in path.parts)
every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


def part(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(tree):
    """The parts of the package that a module imports, wherever in the module."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "relative import"
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "gbi_helpers"
                else [node.module]
            )
        yield from (name.split(".")[1] for name in names if name.startswith("gbi_helpers."))


@every_module
def test_imports_go_one_way(path):
    if path == PACKAGE / "__init__.py":
        return  # it gathers names from all parts
    assert part(path) in LEVEL, f"give {part(path)} its place in LEVELS, and DESIGN its line"
    for name in imported_parts(ast.parse(path.read_text("utf-8"))):
        assert LEVEL[name] <= LEVEL[part(path)], f"{path.name} imports {name}, which is above it"


@every_module
def test_no_module_is_long(path):
    assert len(path.read_text("utf-8").splitlines()) <= 320


def functions():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield path, node


def public_definitions(path):
    """Functions and classes at the top of a public module, and the methods of those classes, without underscore."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (m for m in node.body if isinstance(m, ast.FunctionDef) and not m.name.startswith("_"))


@every_module
def test_everything_public_is_documented(path):
    assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), "no docstring of the module"
    if not path.stem.startswith("_") or path.stem == "__init__":
        missing = [node.name for node in public_definitions(path) if not ast.get_docstring(node)]
        missing = [name for name in missing if name != "forward"]  # told by its class
        assert missing == []


def test_functions_are_short():
    defs = [node for _, node in functions() if not isinstance(node, ast.ClassDef)]
    lengths = sorted(node.end_lineno - node.lineno + 1 for node in defs)
    assert lengths[len(lengths) // 2] <= 12


def test_import_is_light():
    program = (
        "import sys, gbi_helpers; "
        "print([m for m in ('torchvision', 'matplotlib', 'ipywidgets', 'anywidget', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "gbi_helpers", "tests"], ["mypy"]],
    ids=lambda command: "-".join(command[:2]),
)
def test_linters_find_nothing(command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
