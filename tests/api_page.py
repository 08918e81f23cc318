"""docs/api.md from the docstrings of the public API, read by griffe. ``python -m tests.api_page`` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import griffe

from streamwave.config.fields import PREFIX, variable_name
from streamwave.config.settings import Settings
from streamwave.util.trust import ENV_FILE

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
FUNCTIONS = ("probe", "ladder", "transcode", "open_live", "open_broadcast", "list_broadcasts")
CLASSES = (
    "Live",
    "Broadcast",
    "Transcoded",
    "Verification",
    "RenditionReport",
    "Exported",
    "Status",
    "SourceInfo",
    "VideoInfo",
    "AudioInfo",
    "Rendition",
    "Settings",
)
#: Classes that have no name in ``streamwave``: where they are, and which attribute has them.
INNER = {"VideoInfo": ("streamwave.model", "SourceInfo.video"), "AudioInfo": ("streamwave.model", "SourceInfo.audio")}
METHODS = {
    "Live": ("publish", "stop", "status", "follow"),
    "Broadcast": ("verify", "export", "status", "follow"),
    "Settings": ("load",),
}

INTRODUCTION = """# Python API

`import streamwave` offers what the command line does. It loads next to nothing until the first call, is typed (`py.typed`), and
needs neither Prefect nor a server. What is on this page is stable; everything else in the package may change at any time.

Every function takes `settings`: a `streamwave.Settings`, which is immutable. Without it, the settings are those of the
environment and of `.env`; `Settings.load(crf=28)` overrides single settings ([Settings](#streamwavesettings)).

The examples build on each other, and the tests run them. `talk.mp4` has 100 frames of 320x180 in 4 s, and its last AAC frame
ends 11 ms later; `stage` is a stream whose broadcast has just ended. `make docs` writes this page from the docstrings.
"""

WITH_PREFECT = """## With Prefect

The flow `vod` makes the same objects as `transcode`, as a Prefect flow run: every chunk × rendition is a task run. It reports
to the server that `PREFECT_API_URL` names, or to one that Prefect starts. `of_the_user` tells the flow
that its parameters come from the user who runs this process. Runs that are started through Prefect's API may name only files
and outputs that the settings allow.

```python
from flows.caller import of_the_user
from flows.vod import vod

with of_the_user():
    vod(source="talk.mp4", output="out/talk-by-prefect")
```

The stages of one chunk are plain calls in `streamwave/pipeline/chunk.py`; each task in `tasks/` makes one of them.
"""


def page() -> str:
    """All of docs/api.md."""
    api = griffe.load("streamwave.api", docstring_parser="google", resolve_aliases=True)
    parts = [INTRODUCTION, "## Functions\n"]
    parts += [_function(_target(api, name), f"streamwave.{name}") for name in FUNCTIONS]
    parts += [WITH_PREFECT, "## Classes\n"]
    for name in CLASSES:
        if name in INNER:
            module, attribute = INNER[name]
            inner = griffe.load(module, docstring_parser="google")[name]
            parts.append(f"### `{name}`\n\nThe type of `{attribute}`.\n\n{_docstring(inner)}")
            continue
        found = _target(api, name)
        parts.append(f"### `streamwave.{name}`\n\n{_docstring(found)}")
        parts += [_names_of_settings()] if name == "Settings" else []
        parts += [_function(found.members[one], f"{name}.{one}") for one in METHODS.get(name, ())]
    errors = griffe.load("streamwave.errors", docstring_parser="google")
    assert errors.docstring is not None
    text = errors.docstring.value.partition("::\n")[2]
    tree, _, rest = text.strip("\n").partition("\n\n")
    indent = "\n".join(line.removeprefix("    ") for line in tree.splitlines())
    parts.append(f"## Errors\n\nAll are in `streamwave.errors`:\n\n```text\n{indent}\n```\n\n{rest.strip()}\n")
    return "\n".join(parts)


def _names_of_settings() -> str:
    """Which field is which setting."""
    names = {name: variable_name(name, info) for name, info in Settings.model_fields.items()}
    odd = {name: variable for name, variable in names.items() if variable.removeprefix(PREFIX).lower() != name}
    rows = "".join(f"| `{name}` | `{variable}` |\n" for name, variable in odd.items())
    return (
        f"[Settings](settings.md) lists them by their environment variables. A field has the variable's name in lower case, "
        f"without `{PREFIX}`: `crf` is `STREAMWAVE_CRF`, `output_dir` is `OUTPUT_DIR`. The exceptions:\n\n"
        f"| field | variable |\n|---|---|\n{rows}"
    )


def _target(api: griffe.Object | griffe.Alias, name: str) -> griffe.Object:
    found = api[name]
    target = found.final_target if isinstance(found, griffe.Alias) else found
    assert isinstance(target, griffe.Object)
    return target


def _function(found: griffe.Object | griffe.Alias, name: str) -> str:
    assert isinstance(found, griffe.Function)
    arguments, star = list[str](), False
    for one in found.parameters:
        if one.name in ("self", "cls"):
            continue
        if one.kind is griffe.ParameterKind.keyword_only and not star:
            arguments, star = [*arguments, "*"], True
        if one.kind is griffe.ParameterKind.var_keyword:
            arguments.append(f"**{one.name}: {one.annotation}")
            continue
        # griffe writes quotation marks as repr does, the formatter as we do.
        default = f" = {one.default}".replace("'", '"') if one.default is not None else ""
        default = default.replace("ENV_FILE", f'"{ENV_FILE}"')
        arguments.append(f"{one.name}: {one.annotation}{default}")
    inside = "".join(f"    {argument},\n" for argument in arguments)
    called = name.rpartition(".")[2]
    signature = (
        f"def {called}(\n{inside}) -> {found.returns}: ..." if arguments else f"def {called}() -> {found.returns}: ..."
    )
    return f"### `{name}`\n\n```python\n{signature}\n```\n\n{_docstring(found)}"


def _docstring(found: griffe.Object | griffe.Alias) -> str:
    assert found.docstring is not None, f"{found.path} has no docstring"
    return "\n".join(text for section in found.docstring.parsed for text in _section(section))


def _section(section: griffe.DocstringSection) -> Iterator[str]:
    if isinstance(section, griffe.DocstringSectionText):
        yield f"{section.value.replace('``', '`')}\n"
    elif isinstance(section, griffe.DocstringSectionParameters | griffe.DocstringSectionAttributes):
        yield "| name | what it is |\n|---|---|"
        yield "".join(f"| `{one.name}` | {_line(one.description)} |\n" for one in section.value)
    elif isinstance(section, griffe.DocstringSectionRaises):
        yield "| raises | when |\n|---|---|"
        yield "".join(f"| `{one.annotation}` | {_line(one.description)} |\n" for one in section.value)
    elif isinstance(section, griffe.DocstringSectionReturns):
        yield "".join(f"Returns: {_line(one.description)}\n" for one in section.value)
    elif isinstance(section, griffe.DocstringSectionExamples):
        # doctest takes lines up to the next empty one for what is printed.
        yield "".join(f"```pycon\n{text}\n\n```\n" for _, text in section.value)


def _line(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
