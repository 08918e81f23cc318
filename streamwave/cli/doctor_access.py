"""Checks of which other users of this machine can read or change the files that StreamWave keeps, reads or executes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from streamwave.config.settings import Settings
from streamwave.errors import StreamWaveError
from streamwave.ffmpeg.locate import locate
from streamwave.state.folders import open_to_others, unsafe
from streamwave.util import trust
from streamwave.util.private import umask_of_user

#: The folder with our packages: the checkout or site-packages.
INSTALLED = Path(__file__).resolve().parents[2]

#: Name, status, what was found, what to do.
Finding = tuple[str, Literal["ok", "warn", "fail"], str, str]


def check_access(settings: Settings) -> Iterator[Finding]:
    """Run every check of owners and modes. Changes nothing."""
    yield check_user(os.geteuid())
    yield check_umask(umask_of_user())
    yield from check_state(settings)
    yield check_env_file()
    yield _trusted("working folder", Path.cwd(), "no other user may write to {}")
    try:
        ffmpeg = Path(locate(settings.ffmpeg_path).path)
    except StreamWaveError:
        pass  # check_ffmpeg reports it
    else:
        yield _trusted("FFmpeg's owner", ffmpeg, "no other user may change {}")
    from services.media.server import find_players

    yield check_code((INSTALLED, INSTALLED / "streamwave", find_players(), Path(sys.prefix)))
    yield from check_outputs(settings)


def check_user(uid: int) -> Finding:
    """Warn if the user is root."""
    if uid == 0:
        remedy = "create a user (adduser --system --group streamwave) that owns the state folder and the output"
        return "user", "warn", "root: a vulnerability in FFmpeg or nginx would give root access", remedy
    return "user", "ok", trust.user_name(uid), ""


def check_umask(umask: int) -> Finding:
    """Check the user's umask, which applies to exported files only."""
    text = f"077 for StreamWave's own files; {umask:03o} for exported files"
    if umask & 0o002:
        return "umask", "ok", text, ""
    return "umask", "warn", f"{text}, which every user may then change", "set umask 022 in the shell's profile"


def check_state(settings: Settings) -> Iterator[Finding]:
    """Check that no other user can read the state folders, and PREFECT_HOME if it is outside of them."""
    found = open_to_others(settings)
    home = settings.prefect_home
    if not home.is_relative_to(settings.state_dir) and home.is_dir() and (unsafe(home) or home.stat().st_mode & 0o077):
        found.append(
            (unsafe(home) or f"other users can read {home} (PREFECT_HOME)", "chown it to yourself; chmod 700 it")
        )
    for sentence, remedy in found:
        yield "state", "warn", sentence, remedy
    if not found:
        yield "state", "ok", f"{settings.state_dir}: no other user can read it", ""


def env_file_fault() -> str | None:
    """Why ``.env`` in the working folder is not read: another user could have written it. None if there is no such fault."""
    if trust.ENV_FILE_VARIABLE in os.environ or not os.path.exists(trust.ENV_FILE):
        return None
    return trust.fault_of_file(Path(trust.ENV_FILE))


def check_env_file() -> Finding:
    """Check that the ``.env`` file is trusted and private."""
    reason = env_file_fault()
    if reason is not None:
        return ".env", "fail", f"not read: {reason}", trust.remedy(reason)
    try:
        path = trust.env_file()
    except StreamWaveError as error:
        return ".env", "fail", str(error), "correct or unset it"
    if path is not None and path.stat().st_mode & 0o004:
        return ".env", "warn", f"every user can read {path}, and the tokens in it", "chmod 600 it"
    return ".env", "ok", f"{path}" if path else "none is read", ""


def check_code(places: tuple[Path, ...]) -> Finding:
    """Check that no other user can change the code, the player page, nginx's templates or the players."""
    reason = next((found for found in map(trust.fault, places) if found), None)
    if reason is not None:
        return "code", "warn", reason, trust.remedy(reason).partition(",")[0]
    return "code", "ok", f"no other user may write to {INSTALLED}", ""


def check_outputs(settings: Settings) -> Iterator[Finding]:
    """Warn of local outputs that every user may write to."""
    for target in settings.outputs:
        if target.is_local and os.path.isdir(target.url) and os.stat(target.url).st_mode & 0o002:
            yield (
                "output",
                "warn",
                f"every user may write to {target.url}, and so change what viewers see",
                "chmod o-w it",
            )


def _trusted(name: str, path: Path, good: str) -> Finding:
    reason = trust.fault_of_file(path) if path.is_file() else trust.fault(path)
    if reason is not None:
        return name, "warn", reason, trust.remedy(reason)
    return name, "ok", good.format(path), ""
