"""Generate docs/settings.md and .env.example from the settings. A test checks that both are up to date."""

from __future__ import annotations

from fractions import Fraction
from itertools import groupby
from pathlib import Path
from textwrap import wrap

from pydantic.fields import FieldInfo

from streamwave.config.fields import allowed, extra, is_secret, variable_name
from streamwave.config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "settings.md"
EXAMPLE = ROOT / ".env.example"

_GROUPS = {
    "General": "",
    "Output": "",
    "Encoding": "",
    "Work": "How much is done in parallel, and what happens when it fails.",
    "Prefect": "Prefect has many settings of its own; StreamWave uses these.",
    "Live": "Used for live streams only, not for transcoding files.",
    "Limits": "How much one publisher, one source or one stranger can use of this machine.",
}


def _plain_default(field: FieldInfo) -> str:
    """The default as written in `.env`; empty if there is none."""
    value = field.default
    if field.default_factory is not None or value is None or value == ():
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | Fraction | Path) else ""


def _groups() -> list[tuple[str, list[tuple[str, FieldInfo]]]]:
    rows = [(variable_name(name, field), field) for name, field in Settings.model_fields.items()]
    rows.sort(key=lambda row: list(_GROUPS).index(extra(row[1], "group")))
    return [(group, list(members)) for group, members in groupby(rows, key=lambda row: extra(row[1], "group"))]


def settings_page() -> str:
    """The reference page in Markdown."""
    lines = [
        "# Settings",
        "",
        "Generated from `streamwave/config/` by `make docs`; edit the descriptions there.",
        "",
        "A setting is read from the environment, then from the file `.env` in the working directory; otherwise its default",
        "applies. An empty value counts as not set. `streamwave doctor` reports unknown names.",
    ]
    for group, members in _groups():
        lines += ["", f"## {group}", ""] + ([_GROUPS[group], ""] if _GROUPS[group] else [])
        lines += ["| variable | allowed | default | unit | what it does |", "|---|---|---|---|---|"]
        for variable, field in members:
            default = extra(field, "default") or (f"`{_plain_default(field)}`" if _plain_default(field) else "not set")
            what = (field.description or "") + (" Secret: never shown or logged." if is_secret(field) else "")
            lines.append(f"| `{variable}` | {allowed(field)} | {default} | {extra(field, 'unit')} | {what} |")
    return "\n".join(lines) + "\n"


def env_example() -> str:
    """The sample configuration: every setting with its default, commented out."""
    lines = ["# Copy this file to .env and uncomment what you change. See docs/settings.md"]
    for group, members in _groups():
        lines += ["", f"# --- {group} ---"]
        for variable, field in members:
            lines += [""] + ["## " + line for line in wrap((field.description or "").replace("`", ""), 110)]
            unit = f" {extra(field, 'unit')}".rstrip()
            lines += ["## Allowed: " + allowed(field).replace("`", "") + unit]
            if extra(field, "default"):
                lines += ["## Default: " + extra(field, "default").replace("`", "")]
            lines += [f"# {variable}={_plain_default(field)}"]
    return "\n".join(lines) + "\n"


def write_pages() -> None:
    """Write both files to the checkout."""
    PAGE.write_text(settings_page(), encoding="utf-8")
    EXAMPLE.write_text(env_example(), encoding="utf-8")


if __name__ == "__main__":
    write_pages()
