"""Prints the first line of every module: the file map that cannot be out of date."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def lines() -> list[str]:
    """`path  first line of its docstring`, for every module of the three programs."""
    found = []
    for package in ("broker/moldau_broker", "operator/moldau_operator", "cli/moldau_cli"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = ast.get_docstring(ast.parse(path.read_text())) or ""
            found.append(f"{path.relative_to(ROOT)!s:62}{text.splitlines()[0] if text else ''}")
    return found


if __name__ == "__main__":
    print("\n".join(lines()))  # noqa: T201 (a command)
