"""Confines the parameters of runs, so that users of Prefect's API cannot read or write arbitrary files on this machine.

Runs of the command line are not confined, because they run as the user who typed the command. The command marks them in its
own process (``caller.of_the_user``), which Prefect's server cannot do. Every other run is confined to what the settings name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.caller import is_of_the_user
from streamwave.config.settings import Settings
from streamwave.errors import UsageError
from streamwave.storage.address import is_address
from streamwave.storage.outputs import OutputAddress, normal_place, outputs


def is_confined() -> bool:
    """Whether the parameters of this run come from Prefect's API."""
    return not is_of_the_user()


def file_roots(settings: Settings) -> Sequence[Path] | None:
    """The folders that a source file may be in; None for all."""
    return settings.allowed_file_roots if is_confined() else None


def check_output(output: str | None, settings: Settings) -> str:
    """The outputs to write to: ``output``, or else those of the settings.

    Raises:
        UsageError: ``output`` is malformed; or the run is confined, and one of them is neither an output of the settings nor
            a folder in one.
    """
    if not output:
        return settings.output_url
    if is_confined():
        for target in outputs(output):
            if not any(_is_within(target, root) for root in settings.outputs):
                raise UsageError(
                    "the output of a run started through Prefect must be in OUTPUT_DIR, or a folder in it; "
                    "add it to OUTPUT_DIR where the run is executed, or use the command line"
                )
    return output


def check_spool(place: str, settings: Settings) -> str:
    """``place``, the spool of a broadcast: a folder, or an address in a store. Checked because the spool names the output.

    Raises:
        UsageError: the run is confined, and ``place`` is not in the spool of the settings.
    """
    if is_confined():
        root = settings.spool_url
        if is_address(place):
            within = root is not None and place.startswith(f"{root}/") and ".." not in place.split("/")
        else:
            within = Path(place).resolve().is_relative_to(settings.spool_dir.resolve())
        if not within:
            raise UsageError(
                "the broadcast is not in the spool of the process that executes the run; set STREAMWAVE_SPOOL_DIR there"
            )
    return place


def check_ladder(ladder: str | None) -> str | None:
    """Return ``ladder`` if it is allowed.

    Raises:
        UsageError: the run is confined, and ``ladder`` is the name of a file.
    """
    text = (ladder or "").strip()
    if is_confined() and not text.startswith("{") and ("/" in text or text.endswith((".toml", ".json"))):
        raise UsageError(
            "the ladder of a run started through Prefect must be names of renditions or inline JSON, not a file"
        )
    return ladder


def _is_within(target: OutputAddress, root: OutputAddress) -> bool:
    if target.model_copy(update={"url": root.url}) != root:
        return False
    place, above = normal_place(target), normal_place(root)
    if "://" in place or "://" in above:
        return f"{place}/".startswith(f"{above}/")
    return Path(place).resolve().is_relative_to(Path(above).resolve())
