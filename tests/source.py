"""The source of both programs as syntax trees, parsed once for all tests that read it."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent


@cache
def trees() -> dict[Path, ast.Module]:
    """Every module of the daemon and of the client, and what is in it."""
    paths = [path for package in ("swarmshd", "swarmctl") for path in sorted((ROOT / package).rglob("*.py"))]
    return {path: ast.parse(path.read_bytes(), path) for path in paths}


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All of a module's nodes."""
    return list(ast.walk(trees()[path]))


def name_of(function: ast.expr) -> str:
    """``open`` or ``time.time``; empty where what is called has no name."""
    parts = []
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    return ".".join([function.id, *reversed(parts)]) if isinstance(function, ast.Name) else ""
