"""The rooms of the house, the floors on which their imports put them, and circles. ``python -m tests.rooms`` prints them.

A room is a package of the product at one of the first two levels, or a module that lies beside them. It stands one floor
above the highest room that it imports from.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grimp

PACKAGES = ("streamwave", "tasks", "flows", "services")
MOST_ROOMS, MOST_FLOORS = 25, 10
PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"

Node = TypeVar("Node", bound=Hashable)


@dataclass(frozen=True)
class House:
    """``rooms`` of streamwave/ at its first two levels; ``floors`` from the ground up; circles of files and of rooms."""

    rooms: tuple[str, ...]
    floors: tuple[tuple[str, ...], ...]
    circles_of_files: tuple[tuple[str, ...], ...]
    circles_of_rooms: tuple[tuple[str, ...], ...]

    @property
    def faults(self) -> list[str]:
        """What is wrong with it, in words."""
        found = [f"circle: {', '.join(circle)}" for circle in self.circles_of_files + self.circles_of_rooms]
        if len(self.rooms) > MOST_ROOMS:
            found.append(f"{len(self.rooms)} rooms in streamwave/, at most {MOST_ROOMS} are allowed")
        if len(self.floors) > MOST_FLOORS:
            found.append(f"{len(self.floors)} floors, at most {MOST_FLOORS} are allowed")
        return found


def look() -> House:
    """The house as the imports in the checkout have it."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    modules = {module for module in graph.modules if not module.startswith("streamwave.v1")}
    packages = {module.rpartition(".")[0] for module in modules} - {""}
    files = {
        module: {found for found in graph.find_modules_directly_imported_by(module) if found in modules}
        for module in modules
    }

    def room(module: str) -> str:
        parts = module.split(".")
        # What lies in the root of a package is part of no room but that package.
        return parts[0] if len(parts) == 1 or parts[0] in ("tasks", "flows") else ".".join(parts[:2])

    rooms = _merged(files, room)
    ours = {
        ".".join(module.split(".")[:depth])
        for module in modules
        for depth in (2, 3)
        if module.startswith("streamwave.")
    }
    named = sorted(one for one in ours if one in packages or one.count(".") == 1)
    levels = _levels(rooms)
    floors = [sorted(one for one in rooms if levels[one] == level) for level in range(1, max(levels.values()) + 1)]
    return House(
        rooms=tuple(named),
        floors=tuple(map(tuple, floors)),
        circles_of_files=_circles(files),
        circles_of_rooms=_circles(rooms),
    )


def _merged(arrows: Mapping[str, set[str]], room: Callable[[str], str]) -> dict[str, set[str]]:
    merged: dict[str, set[str]] = defaultdict(set)
    for module, imported in arrows.items():
        merged[room(module)] |= {room(one) for one in imported} - {room(module)}
    return dict(merged)


def _circles(arrows: Mapping[Node, set[Node]]) -> tuple[tuple[Node, ...], ...]:
    """Strongly connected components of more than one node (Tarjan)."""
    index: dict[Node, int] = {}
    low: dict[Node, int] = {}
    stack: list[Node] = []
    found: list[tuple[Node, ...]] = []

    def visit(node: Node) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in arrows[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            circle = stack[stack.index(node) :]
            del stack[-len(circle) :]
            if len(circle) > 1:
                found.append(tuple(sorted(circle, key=str)))

    for node in arrows:
        if node not in index:
            visit(node)
    return tuple(found)


def _levels(arrows: Mapping[str, set[str]]) -> dict[str, int]:
    levels: dict[str, int] = {}

    def level(node: str, above: Sequence[str] = ()) -> int:
        if node not in levels:
            below = [level(other, (*above, node)) for other in arrows[node] if other not in above]
            levels[node] = 1 + max(below, default=0)
        return levels[node]

    for node in arrows:
        level(node)
    return levels


def picture(house: House) -> str:
    """The floors from the top down, as Markdown."""
    rows = [
        f"| {number} | {', '.join(f'`{room}`' for room in floor)} |" for number, floor in enumerate(house.floors, 1)
    ]
    return "\n".join(["| floor | rooms |", "|---|---|", *reversed(rows)]) + "\n"


def with_picture(page: str) -> str:
    """The ``page`` on the architecture, with the floors as they are."""
    before, _, rest = page.partition("<!-- floors -->\n")
    return f"{before}<!-- floors -->\n{picture(look())}<!-- /floors -->{rest.partition('<!-- /floors -->')[2]}"


def main() -> int:
    """Print the house; 1 if it is not as it should be. With ``--write``: put it into docs/architecture.md."""
    house = look()
    if "--write" in sys.argv:
        PAGE.write_text(with_picture(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(picture(house))
    print(f"{len(house.rooms)} rooms in streamwave/: {', '.join(house.rooms)}")
    print(
        f"{len(house.floors)} floors, {len(house.circles_of_files)} circles of files, {len(house.circles_of_rooms)} of rooms"
    )
    for fault in house.faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if house.faults else 0


if __name__ == "__main__":
    sys.exit(main())
