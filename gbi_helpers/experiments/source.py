"""The code that a number comes from, as a mark: it changes when the code does, not when words about it do."""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

# What carries numbers to and from disk, but does not make them.
CARRIERS = tuple(
    f"gbi_helpers.{name}"
    for name in ("files", "records", "claims", "checkpoints", "data", "experiments.shelf", "experiments.study")
)


def code_of(*functions: Any) -> str:
    """A mark of the functions' code, of all code of their package that they use, and of the constants in it.

    Docstrings, comments, annotations and layout do not count. Neither do tables of settings (mappings of mappings):
    each row names its own line of them, and the others are not its business.
    """
    return _mark(functions)


@functools.cache
def _mark(functions: tuple[Any, ...]) -> str:
    found: set[str] = set()
    visited: set[int] = set()
    for function in functions:
        _note(function.__module__.partition(".")[0], "", function, found, visited)
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()[:12]


def _note(home: str, name: str, value: Any, found: set[str], visited: set[int]) -> None:
    """Enter a value, and then all that it uses, under ``name``; ``home``: whose code counts besides our own."""
    if isinstance(value, str | int | float | None):
        found.add(f"{name} = {value!r}")
        return
    if id(value) in visited:
        return
    visited.add(id(value))
    if _is_code(value, home):
        value = inspect.unwrap(value)
        name = f"{value.__module__}.{value.__qualname__}"
        found.add(f"{name}: {_code(value)}")
    elif isinstance(value, type | FunctionType | BuiltinFunctionType):
        found.add(f"{name} is {value.__module__}.{value.__qualname__}")  # a library's, by name
    for inner, part in _parts(value, home):
        _note(home, f"{name}.{inner}", part, found, visited)


def _is_code(value: Any, home: str) -> bool:
    """Whether it is a function or class whose code counts."""
    module = getattr(value, "__module__", None) or ""
    ours = module.partition(".")[0] in ("gbi_helpers", home) and not module.startswith(CARRIERS)
    return ours and (isinstance(value, type) or isinstance(inspect.unwrap(value), FunctionType))


def _parts(value: Any, home: str) -> Iterator[tuple[str, Any]]:
    """What a value is made of, or uses, by name."""
    if isinstance(value, functools.partial):
        yield from (("func", value.func), ("args", value.args), ("keywords", value.keywords))
    elif isinstance(value, Mapping):
        if not any(isinstance(inner, Mapping) for inner in value.values()):
            yield from ((str(key), inner) for key, inner in value.items())
    elif isinstance(value, tuple | list):
        yield from ((str(place), inner) for place, inner in enumerate(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield "class", type(value)
        yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    elif _is_code(value, home):
        yield from _used(value)


@functools.cache
def _tree(value: Any) -> ast.AST | None:
    """The source without words; None for a lambda that cannot be cut out of its line."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(value)))
    except (OSError, SyntaxError):
        return None
    return _Wordless().visit(tree)


class _Wordless(ast.NodeTransformer):
    """Takes docstrings and annotations out of a tree."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
        for name in ("annotation", "returns"):
            if hasattr(node, name) and not isinstance(node, ast.AnnAssign):
                setattr(node, name, None)
        return node


def _code(value: Any) -> str:
    tree = _tree(value)
    if tree is not None:
        return ast.dump(tree)
    code = value.__code__
    return repr((code.co_code, code.co_names, code.co_varnames, [c for c in code.co_consts if not inspect.iscode(c)]))


def _used(value: Any) -> Iterator[tuple[str, Any]]:
    """The names in its code that mean something: those of its module, of modules there (``scores.look``), closures."""
    known = dict(vars(sys.modules[value.__module__]))
    if isinstance(value, FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        known |= {name: cell.cell_contents for name, cell in cells}
    tree = _tree(value)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Name) and node.id in known and not isinstance(known[node.id], ModuleType):
            yield node.id, known[node.id]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = known.get(node.value.id)
            if isinstance(module, ModuleType) and hasattr(module, node.attr):
                yield f"{node.value.id}.{node.attr}", getattr(module, node.attr)
    if tree is None:
        yield from ((name, known[name]) for name in value.__code__.co_names if name in known)
