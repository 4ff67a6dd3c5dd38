"""Names and first words: one name stands for one thing, and a module begins with the term for what it is."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.harness.sources import reads_sources, tree_of

pytestmark = reads_sources
ROOT = Path(__file__).parents[2]
PACKAGES = ("chassis", "users_service", "notifications_service")

# Names that rooms share because they mean the same in each, and where the word comes from.
SHARED = {
    "Page": "part of a list, with what the next part begins after (AIP-158), whatever its rows are",
    "Database": "each service's one way to its own server, by the same methods",
}


def names(module: ast.Module) -> Iterator[str]:
    """Yield the public classes and type aliases that a module defines."""
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        # Aliases of types are written as classes are, constants in capitals.
        if isinstance(target, ast.Name) and target.id[0].isupper() and not target.id.isupper():
            yield target.id


@cache
def places() -> dict[str, list[tuple[str, str]]]:
    """Return where each name is defined: packages and their rooms, one for each definition."""
    found = defaultdict(list)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            room = path.relative_to(ROOT / package).with_suffix("").parts[0]
            for name in names(tree_of(path)):
                found[name].append((package, room))
    return found


def is_ambiguous(defined: list[tuple[str, str]]) -> bool:
    """Say whether a name has two meanings: rooms of one name in both services, such as ``backup``, are twins."""
    return len({room for _, room in defined}) > 1 or len(set(defined)) < len(defined)


def test_one_name_stands_for_one_thing() -> None:
    """Whoever searches for a class by its name finds one, and need not ask which."""
    ambiguous = {name: where for name, where in places().items() if is_ambiguous(where) and name not in SHARED}
    assert not ambiguous


def test_a_name_on_the_list_is_shared() -> None:
    """A name that only one room still has would let another meaning in."""
    found = places()
    assert [name for name in SHARED if not is_ambiguous(found[name])] == []


def test_a_module_says_what_it_is_in_its_first_words() -> None:
    """A docstring that begins with a question word leaves the reader without the term to search for."""
    questions = {"What", "Whether", "How", "Where", "Which", "Who", "Why"}
    opaque = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            words = (ast.get_docstring(tree_of(path)) or "").split(maxsplit=1)
            if words and words[0] in questions:
                opaque.append(str(path.relative_to(ROOT)))
    assert opaque == []
