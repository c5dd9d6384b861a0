"""The code that a number comes from, as a mark: it changes when the code does, not when words about it do."""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import inspect
import sys
import textwrap
from collections import ChainMap
from collections.abc import Iterator, Sequence
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

# What carries numbers to and from disk, but does not make them.
CARRIERS = tuple(
    f"gbi_helpers.{name}"
    for name in (
        "files", "claims", "progress", "checkpoints", "data.babylm", "data.cifar", "data.cifar_files", "data.download",
        "data.image_files", "data.image_sets", "data.images", "data.layouts", "data.listing", "data.text",
        "data.text_files", "data.vocabulary", "experiments.shelf", "experiments.source", "experiments.study",
    )
)  # fmt: skip


def code_of(*functions: Any) -> str:
    """A mark of the functions' code, of all code of their package that they use, and of the constants in it.

    Docstrings, comments, annotations, layout and what an error says do not count. Neither do tables of settings
    (mappings of mappings, and fields with the metadata ``code=False``): each row names its own line of them.
    """
    return _mark(functions)


@functools.cache
def _mark(functions: tuple[Any, ...]) -> str:
    found: set[str] = set()
    visited: set[int] = set()
    for function in functions:
        _note(getattr(function, "__module__", "").partition(".")[0], "", function, found, visited)
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()[:12]


def _note(home: str, name: str, value: Any, found: set[str], visited: set[int]) -> None:
    """Enter a value, and then all that it uses, under ``name``; ``home``: whose code counts besides our own."""
    if isinstance(value, str | bytes | int | float | complex | slice | range | torch.dtype | torch.device | None):
        found.add(f"{name} = {value!r}")
        return
    if isinstance(value, torch.Tensor | np.ndarray):
        found.add(f"{name} = {value.dtype} {value.tolist()}")
        return
    if isinstance(value, set | frozenset):
        found.add(f"{name} = {sorted(map(repr, value))}")
        return
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        found.add(f"{name} is {value.__module__}.{value.__qualname__}")  # which of several it is counts, too
    if id(value) in visited:
        return
    visited.add(id(value))
    if _is_code(value, home):
        value = inspect.unwrap(value)
        name = f"{value.__module__}.{value.__qualname__}"
        found.add(f"{name}: {_code(value)}")
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
    elif isinstance(value, dict):  # no other mapping: os.environ is one
        if not any(isinstance(inner, dict) for inner in value.values()):
            yield from ((str(key), inner) for key, inner in value.items())
    elif isinstance(value, tuple | list):
        yield from ((str(place), inner) for place, inner in enumerate(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield "class", type(value)
        fields = (field for field in dataclasses.fields(value) if field.metadata.get("code", True))
        yield from ((field.name, getattr(value, field.name)) for field in fields)
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
    """Takes out of a tree what says and does not do: docstrings, annotations, the text of errors."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """No annotation inside a function matters; those in a class make the fields of a dataclass."""
        for inner in ast.walk(node):
            if isinstance(inner, ast.arg):
                inner.annotation = None
        node.returns, node.body = None, [_unannotated(inner) for inner in node.body]
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """An error is told by its kind."""
        return ast.Raise(node.exc.func) if isinstance(node.exc, ast.Call) else node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Without the strings that stand alone."""
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
        return node


def _unannotated(node: ast.stmt) -> ast.stmt:
    """An assignment without its annotation."""
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return ast.copy_location(ast.Assign([node.target], node.value), node)
    return node


@functools.cache
def _code(value: Any) -> str:
    tree = _tree(value)
    if tree is not None:
        return ast.unparse(ast.fix_missing_locations(tree))
    if isinstance(value, type):
        return "made without source"
    code = value.__code__
    return repr((code.co_code, code.co_names, code.co_varnames, [c for c in code.co_consts if not inspect.iscode(c)]))


def _used(value: Any) -> Iterator[tuple[str, Any]]:
    """The names in its code that mean something: those of its module, of modules there (``scores.look``), closures."""
    known = ChainMap(vars(sys.modules[value.__module__]))
    if isinstance(value, FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        known = known.new_child({name: cell.cell_contents for name, cell in cells})
    for name, attribute in _named(value):
        meant = known.get(name)
        if isinstance(meant, ModuleType) and attribute in vars(meant):
            yield f"{name}.{attribute}", getattr(meant, attribute)
        elif name in known and not (attribute or isinstance(meant, ModuleType)):
            yield name, meant


@functools.cache
def _named(value: Any) -> Sequence[tuple[str, str]]:
    """The names in its code, each once: ("scores", "look") for ``scores.look``, ("x", "") for ``x``."""
    tree = _tree(value)
    if tree is None:
        return [(name, "") for name in value.__code__.co_names] if isinstance(value, FunctionType) else []
    found: dict[tuple[str, str], None] = {}  # in the order in which they come
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found[node.id, ""] = None
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found[node.value.id, node.attr] = None
    return list(found)
