"""Draws the house: every room, and what it imports, from the code itself.

A room stands above all that it imports. An arrow that follows from others is left out.

Example: python docs/house.py; python docs/house.py --check says whether the picture is that of the code.
"""

import sys
from html import escape
from pathlib import Path

import grimp
import networkx as nx

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "house.svg"
# Packages whose rooms are the packages in them; each other one is a room itself.
OPEN, ROOMS = ("influcoder", "monitoring"), ("influcoder", "flows", "monitoring")
WIDTH, BOX, FLOOR, MARGIN = 1040, (172, 38), 78, 24
COLOURS = {"influcoder": "#e8eef7", "flows": "#f7efe3", "monitoring": "#e9f3ea"}
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 8 4 0 8z" fill="#7a8699"/></marker></defs>
<rect width="{width}" height="{height}" fill="#ffffff"/>"""


def main() -> int:
    """Draw the picture, or compare it with the one that is there."""
    drawn = picture(house())
    if "--check" not in sys.argv[1:]:
        PICTURE.write_text(drawn)
        return 0
    if PICTURE.is_file() and PICTURE.read_text() == drawn:
        return 0
    print("docs/house.svg is not what the code looks like. Run: python docs/house.py", file=sys.stderr)
    return 1


def house() -> nx.DiGraph:
    """Rooms with the arrows that follow from no others."""
    modules = grimp.build_graph(*ROOMS, cache_dir=None)
    rooms = nx.DiGraph()
    for module in sorted(modules.modules):
        room = room_of(module)
        if room is None:
            continue
        rooms.add_node(room)
        for imported in sorted(modules.find_modules_directly_imported_by(module)):
            other = room_of(imported)
            if other not in (None, room):
                rooms.add_edge(room, other)
    return nx.transitive_reduction(rooms)


def room_of(module: str) -> str | None:
    """The room that a module stands in; None for what only holds rooms."""
    parts = module.split(".")
    if parts[0] not in OPEN:
        return parts[0]
    return ".".join(parts[:2]) if len(parts) > 1 else None


def picture(rooms: nx.DiGraph) -> str:
    """The house as SVG, the ground at the bottom."""
    floors = list(nx.topological_generations(rooms.reverse()))
    height = FLOOR * len(floors) + 2 * MARGIN - (FLOOR - BOX[1])
    floor = {name: number for number, names in enumerate(floors) for name in names}
    middle: dict[str, tuple[float, float]] = {}
    for number, names in enumerate(floors):
        order = sorted(names, key=lambda name: (_is_far(rooms, name, number, floor), _pull(rooms, name, middle), name))
        for place, name in enumerate(order):
            middle[name] = (WIDTH * (place + 1) / (len(order) + 1), height - MARGIN - BOX[1] / 2 - FLOOR * number)
    arrows = [_arrow(middle[above], middle[below]) for above, below in sorted(rooms.edges)]
    boxes = [_box(name, *middle[name]) for name in sorted(rooms)]
    return "\n".join([HEAD.format(width=WIDTH, height=height), *arrows, *boxes, "</svg>", ""])


def _is_far(rooms: nx.DiGraph, name: str, number: int, floor: dict[str, int]) -> bool:
    """Whether nothing near imports a room, so that its arrow runs round the others."""
    return min((floor[above] - number for above in rooms.predecessors(name)), default=0) > 2


def _pull(rooms: nx.DiGraph, name: str, middle: dict[str, tuple[float, float]]) -> float:
    """How far to the right the rooms lie that one imports."""
    found = [middle[below][0] for below in rooms.successors(name)]
    return sum(found) / len(found) if found else 0.0


def _arrow(above: tuple[float, float], below: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = above, below
    if y2 - y1 > 2 * FLOOR and x1 <= x2:
        # Straight down, it would run behind the rooms between.
        start, end = x1 + BOX[0] / 2, x2 + BOX[0] / 2
        # A cubic of these four points comes as near to the margin as it may.
        out = (WIDTH - 8 - (start + end) / 8) / 0.75
        path = f"M{start:.0f} {y1:.0f} C{out:.0f} {y1:.0f} {out:.0f} {y2:.0f} {end:.0f} {y2:.0f}"
    else:
        y1, y2 = y1 + BOX[1] / 2, y2 - BOX[1] / 2
        bend = (y2 - y1) / 2
        path = f"M{x1:.0f} {y1:.0f} C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
    return f'<path d="{path}" fill="none" stroke="#7a8699" stroke-width="1.3" marker-end="url(#tip)"/>'


def _box(name: str, x: float, y: float) -> str:
    package, _, room = name.partition(".")
    left, top = x - BOX[0] / 2, y - BOX[1] / 2
    title = escape(room or package) if package != "monitoring" else f"monitoring/{escape(room)}"
    return (
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="7" fill="{COLOURS[package]}" '
        f'stroke="#7a8699"/><text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" font-size="15">{title}</text>'
    )


if __name__ == "__main__":
    sys.exit(main())
