"""Error messages for settings: a value that is not allowed, and a variable that is not a setting."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotenv import dotenv_values
from pydantic_settings import BaseSettings

from streamwave.config.fields import PREFIX, allowed, extra, is_secret, variable_name

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def shown(value: Any) -> str:
    """A value for a message, shortened, and without the parts of a URL that may be secret (user, password, query)."""
    text = re.sub(r"//[^/@\s]*@", "//…@", str(value))
    text = re.sub(r"\?.*", "?…", text, flags=re.DOTALL)
    return repr(text if len(text) <= 80 else text[:79] + "…")


def describe_fault(settings: type[BaseSettings], fault: ErrorDetails) -> str:
    """One line for the user: the variable, its value, and what is allowed."""
    if not fault["loc"]:  # a rule over several fields has a complete message of its own
        return fault["msg"].removeprefix("Value error, ")
    where = str(fault["loc"][0])
    for name, field in settings.model_fields.items():
        variable = variable_name(name, field)
        if where.lower() in (name, variable.lower()):
            value = "the value (not shown)" if is_secret(field) else shown(fault["input"])
            unit = f" {extra(field, 'unit')}".rstrip()
            given = str(fault["input"])
            reason = fault["msg"].removeprefix("Value error, ") if fault["type"] == "value_error" else ""
            why = f" ({reason})" if reason and given not in reason and not is_secret(field) else ""
            return f"{variable} is {value}{why}; allowed: {allowed(field)}{unit}".replace("`", "")
    return f"{where}: {fault['msg']}"


def unknown_variables(settings: type[BaseSettings], env_file: str | Path | None) -> tuple[str, ...]:
    """A sentence for each ``STREAMWAVE_…`` variable, in the environment or ``env_file``, that is not a setting."""
    known = {variable_name(name, field) for name, field in settings.model_fields.items()}
    present = dict.fromkeys(os.environ, "the environment")
    if env_file is not None and Path(env_file).is_file():
        present = dict.fromkeys(dotenv_values(env_file), str(env_file)) | present
    sentences = []
    for name, place in sorted(present.items()):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            endings = {full.removeprefix(PREFIX): full for full in known}
            near = difflib.get_close_matches(name.upper().removeprefix(PREFIX), endings, n=1)
            sentences.append(
                f"unknown setting {name} in {place}" + (f": did you mean {endings[near[0]]}?" if near else "")
            )
    return tuple(sentences)
