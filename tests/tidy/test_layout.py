"""The shape of the tree: what house rules say that no linter checks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"broker": "moldau_broker", "operator": "moldau_operator", "cli": "moldau_cli"}

LINES_MAX = 400
LARGE_MODULES: dict[str, int] = {
    # path: lines allowed. Short, and may only shrink; each has one reason to change.
    "broker/moldau_broker/storage/disk.py": 418,
    "broker/moldau_broker/testing/disk.py": 429,
}


def sources() -> Iterator[Path]:
    for folder, package in PROGRAMS.items():
        yield from sorted((ROOT / folder / package).rglob("*.py"))


@pytest.mark.parametrize("folder", sorted(PROGRAMS))
def test_program_folders_are_not_packages(folder: str) -> None:
    """`operator/__init__.py` would shadow the standard library's module; each folder holds one package only."""
    home = ROOT / folder
    assert not list(home.glob("*.py"))
    assert [child.name for child in home.iterdir() if (child / "__init__.py").exists()] == [PROGRAMS[folder]]


def test_tests_have_no_packages() -> None:
    """Tests are collected with --import-mode=importlib, which wants plain folders."""
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_modules_stay_small() -> None:
    """A module above 400 lines has a second reason to change, or is on the short list of exceptions."""
    too_long = {}
    for path in sources():
        name = str(path.relative_to(ROOT))
        lines = len(path.read_text().splitlines())
        if lines > LARGE_MODULES.get(name, LINES_MAX):
            too_long[name] = lines
    assert too_long == {}


def test_exceptions_to_the_module_size_are_needed() -> None:
    """An exception that is no longer needed is removed from the list."""
    for name, allowed in LARGE_MODULES.items():
        lines = len((ROOT / name).read_text().splitlines())
        assert LINES_MAX < lines <= allowed, name


def test_packages_say_their_job() -> None:
    """The first line of every package tells what it is for."""
    for path in sources():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text())), path


def test_no_path_of_a_machine_is_written_down() -> None:
    """Nothing in the tree depends on where somebody's checkout or home lies."""
    pattern = re.compile(r"(?<![\w./-])/(?:home|root|Users|work)/\w")
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if not path.is_file() or (parts[0].startswith(".") and parts[0] != ".ci") or "data" in parts:
            continue
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".in", ".lock", ""}:
            assert not pattern.search(path.read_text(errors="ignore")), path


def test_every_handler_is_registered() -> None:
    """A handler module that nobody lists would never serve; one API, one file."""
    from moldau_broker.server.handlers import HANDLERS

    folder = ROOT / "broker" / "moldau_broker" / "server" / "handlers"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "spec"}
    modules = {name for name in modules if "HANDLER = Handler(" in (folder / f"{name}.py").read_text()}
    assert modules == {handler.handle.__module__.rpartition(".")[2] for handler in HANDLERS}
    assert [handler.api for handler in HANDLERS] == sorted(handler.api for handler in HANDLERS)


def test_design_names_every_room() -> None:
    """DESIGN.md's file map has a row for every package, and none for a package that is gone."""
    named = set(
        re.findall(
            r"^\| `((?:broker|operator|cli)/[\w/]+)` \|", (ROOT / "DESIGN.md").read_text(), re.MULTILINE
        )
    )
    rooms = {
        str(path.parent.relative_to(ROOT))
        for path in sources()
        if path.name == "__init__.py" and len(path.relative_to(ROOT).parts) == 4
    }
    assert named - {"cli/moldau_cli"} == rooms


def test_design_draws_the_groups_states_as_the_table_has_them() -> None:
    """The state diagram in DESIGN.md has exactly the moves that the code allows."""
    from moldau_broker.coordinator.group_state import TRANSITIONS

    drawn = set(re.findall(r"^  (\w+) --> (\w+):", (ROOT / "DESIGN.md").read_text(), re.MULTILINE))
    assert drawn == {
        (before.value, after.value) for before, afters in TRANSITIONS.items() for after in afters
    }
