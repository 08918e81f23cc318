"""Generates docs/cli-json.md from the models of ``--json`` and the exit codes. A test checks that the page is current."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from streamwave.cli import shapes
from streamwave.cli.examples import EXAMPLES
from streamwave.cli.exits import EXIT_CODES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli-json.md"

_HEAD = """# The command line for programs

Generated from `streamwave/cli/shapes.py` and `streamwave/cli/exits.py` by `make docs`; change it there.

With `--json` a command prints one JSON document on stdout, in UTF-8, and nothing else there. Warnings, the progress bar (on a
terminal only) and errors go to stderr. An error is one line that begins with `error:`, with or without `--json`; where a
command fails before it has a result, stdout is empty. Read the exit code first.

- Units are in the names: `_ms`, `_px`, `_bps` (bits per second), `_hz`, `_bytes`, `_degrees`.
- `_unix_ms` is milliseconds since 1970-01-01T00:00:00Z.
- Exact ratios are strings, such as `"30000/1001"`.
- Every field is always there; one without a value is `null`.
- Later versions may add fields. Ignore unknown ones.

## Exit codes

| code | meaning |
|---|---|
"""


def documents() -> list[type[shapes.Shape]]:
    """The models that commands print, in the order of their definition."""
    return [one for name, one in _models() if name.endswith("Document")]


def _models() -> list[tuple[str, type[shapes.Shape]]]:
    found = inspect.getmembers(shapes, lambda one: inspect.isclass(one) and issubclass(one, shapes.Shape))
    found = [(name, one) for name, one in found if one is not shapes.Shape]
    return sorted(found, key=lambda pair: inspect.getsourcelines(pair[1])[1])


def page() -> str:
    """The page as Markdown."""
    text = _HEAD + "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    text += "\n## Documents\n"
    for model in documents():
        example = EXAMPLES[model.__name__].model_dump(mode="json")
        text += f"\n### {model.__doc__}\n\n{_table(model)}"
        text += f"\n```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```\n"
    text += "\n## Objects in the documents\n"
    for name, model in _models():
        if not name.endswith("Document"):
            text += f"\n### {name.removesuffix('Shape')}\n\n{model.__doc__}\n\n{_table(model)}"
    return text


def _table(model: type[shapes.Shape]) -> str:
    rows = "| field | type | meaning |\n|---|---|---|\n"
    schema = model.model_json_schema()
    for name, field in schema["properties"].items():
        rows += f"| `{name}` | {_type(field)} | {field.get('description', '')} |\n"
    return rows


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if "$ref" in field:
        name = str(field["$ref"]).rsplit("/", 1)[1].removesuffix("Shape")
        return f"[{name}](#{name.lower()})"
    if "enum" in field:
        return " or ".join(f"`{json.dumps(one)}`" for one in field["enum"])
    if field["type"] == "array":
        return f"array of {_type(field['items'])}"
    return str(field["type"])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
