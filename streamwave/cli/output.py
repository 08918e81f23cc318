"""How commands print: one JSON document for programs; tables that fit the terminal or the pipe for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Minimum width of a wrapped column on a narrow terminal, so that words stay readable.
NARROWEST = 8

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document (docs/cli-json.md) on stdout and nothing else there.")
]


def emit(document: BaseModel) -> None:
    """Print ``document`` as JSON on stdout, in UTF-8 whatever the locale."""
    typer.echo(document.model_dump_json(indent=2).encode())


def on_terminal(console: Console) -> bool:
    """Whether ``console`` writes to a terminal; unlike rich's own answer, FORCE_COLOR does not make a pipe one."""
    return console.file.isatty()


def shows_progress(console: Console) -> bool:
    """Whether a progress bar can be drawn: only on a terminal that can move its cursor."""
    return on_terminal(console) and not console.is_dumb_terminal


def print_table(
    console: Console,
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    wraps: Collection[str] = (),
    right: Collection[str] = (),
    indent: int = 0,
) -> None:
    """Print a table. Cells are plain text (or styled), headings of numbers in ``right``.

    On a narrow terminal only the columns in ``wraps`` are wrapped; every other cell, such as an ID, stays on one line, so that
    it can be copied. If even that is too wide, each cell gets a line of its own after its heading. In a pipe nothing is
    wrapped, and lines have no trailing spaces.
    """
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    columns = list(zip(*([Text(heading) for heading in headings], *cells), strict=True))
    widths = [max(cell_len(cell.plain) for cell in column) for column in columns]
    if not on_terminal(console):
        for line in zip(*columns, strict=True):
            padded = [
                " " * (width - cell_len(cell.plain)) + cell.plain
                if heading in right
                else cell.plain + " " * (width - cell_len(cell.plain))
                for heading, cell, width in zip(headings, line, widths, strict=True)
            ]
            console.print(" " * indent + "  ".join(padded).rstrip(), markup=False, highlight=False, soft_wrap=True)
        return
    least = [min(width, NARROWEST) if of in wraps else width for of, width in zip(headings, widths, strict=True)]
    if indent + sum(width + 2 for width in least) > console.width:
        longest = max(map(cell_len, headings))
        for number, row in enumerate(cells):
            if number:
                console.print()
            for heading, cell in zip(headings, row, strict=True):
                named = Text(" " * indent + heading + " " * (longest - cell_len(heading) + 2), style="bold")
                console.print(Text.assemble(named, cell), soft_wrap=True)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    if indent:
        table.add_column("", width=max(indent - 2, 0), no_wrap=True)
    for heading, width in zip(headings, least, strict=True):
        justify = "right" if heading in right else "left"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=heading not in wraps, min_width=width)  # type: ignore[arg-type]
    for row in cells:
        table.add_row(*([""] if indent else []), *row)
    console.print(table, crop=False)
