"""Checks of who else on this machine can read or change what StreamWave keeps, reads and executes."""

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

#: The folder with our packages: of the checkout, or of the installation.
INSTALLED = Path(__file__).resolve().parents[2]

#: Name, status, what was found, what to do.
Finding = tuple[str, Literal["ok", "warn", "fail"], str, str]


def check_access(settings: Settings) -> Iterator[Finding]:
    """Every check of owners and modes; it changes nothing."""
    yield check_user(os.geteuid())
    yield check_umask(umask_of_user())
    yield from check_state(settings)
    yield check_env_file()
    yield _trusted("working folder", Path.cwd(), "nobody else may write to {}")
    try:
        ffmpeg = Path(locate(settings.ffmpeg_path).path)
    except StreamWaveError:
        pass  # another check says so
    else:
        yield _trusted("FFmpeg's owner", ffmpeg, "nobody else may change {}")
    from services.media.server import find_players

    yield check_code((INSTALLED, INSTALLED / "streamwave", find_players(), Path(sys.prefix)))
    yield from check_outputs(settings)


def check_user(uid: int) -> Finding:
    """Whether this is root."""
    if uid == 0:
        remedy = "make a user for it (adduser --system --group streamwave), give it the state folder and the output"
        return "user", "warn", "root: whoever finds a hole in FFmpeg or nginx is root too", remedy
    return "user", "ok", trust.user_name(uid), ""


def check_umask(umask: int) -> Finding:
    """The umask of the user, which counts for exported files only."""
    text = f"077 for what StreamWave keeps; {umask:03o} for exported files"
    if umask & 0o002:
        return "umask", "ok", text, ""
    return "umask", "warn", f"{text}, which everybody may then change", "umask 022 in the shell's profile"


def check_state(settings: Settings) -> Iterator[Finding]:
    """Whether the state folders are ours alone, and Prefect's home where it is elsewhere."""
    found = open_to_others(settings)
    home = settings.prefect_home
    if not home.is_relative_to(settings.state_dir) and home.is_dir() and (unsafe(home) or home.stat().st_mode & 0o077):
        found.append(
            (unsafe(home) or f"others can look into {home} (PREFECT_HOME)", "chown it to yourself; chmod 700 it")
        )
    for sentence, remedy in found:
        yield "state", "warn", sentence, remedy
    if not found:
        yield "state", "ok", f"{settings.state_dir}: nobody else can look into it", ""


def env_file_fault() -> str | None:
    """Why ``.env`` is not read, if it is here and others could have written it."""
    if trust.ENV_FILE_VARIABLE in os.environ or not os.path.exists(trust.ENV_FILE):
        return None
    return trust.fault_of_file(Path(trust.ENV_FILE))


def check_env_file() -> Finding:
    """Whether the file of settings is trusted."""
    reason = env_file_fault()
    if reason is not None:
        return ".env", "fail", f"not read: {reason}", trust.remedy(reason)
    try:
        path = trust.env_file()
    except StreamWaveError as error:
        return ".env", "fail", str(error), "correct or unset it"
    if path is not None and path.stat().st_mode & 0o004:
        return ".env", "warn", f"everybody can read {path}, and the tokens in it", "chmod 600 it"
    return ".env", "ok", f"{path}" if path else "none is read", ""


def check_code(places: tuple[Path, ...]) -> Finding:
    """Whether others could change the code, the page, nginx's templates or the players."""
    reason = next((found for found in map(trust.fault, places) if found), None)
    if reason is not None:
        return "code", "warn", reason, trust.remedy(reason).partition(",")[0]
    return "code", "ok", f"nobody else may write to {INSTALLED}", ""


def check_outputs(settings: Settings) -> Iterator[Finding]:
    """Local outputs that everybody may write to."""
    for target in settings.outputs:
        if target.is_local and os.path.isdir(target.url) and os.stat(target.url).st_mode & 0o002:
            yield (
                "output",
                "warn",
                f"everybody may write to {target.url}, and so change what viewers see",
                "chmod o-w it",
            )


def _trusted(name: str, path: Path, good: str) -> Finding:
    reason = trust.fault_of_file(path) if path.is_file() else trust.fault(path)
    if reason is not None:
        return name, "warn", reason, trust.remedy(reason)
    return name, "ok", good.format(path), ""
