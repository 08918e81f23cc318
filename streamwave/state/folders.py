"""Make StreamWave's state folders private to its user, including those that an earlier version left readable.

Only the folders' entries and those one level below are checked, never the chunks of a spool: a private folder protects
everything in it. Files that could belong to another program are left alone.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from streamwave.config.settings import Settings
from streamwave.errors import SettingsError
from streamwave.util.private import make_folder
from streamwave.util.trust import fault, user_name

#: Every name that StreamWave creates in STREAMWAVE_STATE_DIR. A folder that contains others is shared and stays readable.
KNOWN = re.compile(
    r"spool|replica|prefect.*|logs|nginx.*|rtmp.*|empty|demo|clip-.*|setup.*|streamwave\.db.*|hook-token|grpc-token|clock\.json|cluster|worker"
    r"|processing\.ready|\..*"
)
#: In a shared folder such as /var, other names prove nothing. These files are StreamWave's, as are folders that contain these.
_FILES = re.compile(r"streamwave\.db.*|hook-token|grpc-token|processing\.ready|setup-prefect\.log")
_INSIDE = {
    "prefect": ("prefect.db", "server.log"),
    "logs": ("processing.log", "ingest.log"),
    "nginx": ("temp",),
    "rtmp": ("temp",),
}
#: Folders that have too many files to check, or that are checked elsewhere.
_DEEP = {"spool", "replica", "demo", "empty"}
#: What a spool contains besides a folder per stream, and what is in the folder of a stream: a folder per broadcast.
_IN_SPOOL, _BROADCAST = re.compile(r"opening\.lock|file-.*|\..*"), re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}|\..*")


def state_folders(settings: Settings) -> list[tuple[str, Path]]:
    """Each state folder that is not inside another one, with the setting that names it."""
    state = settings.state_dir
    found = [("STREAMWAVE_STATE_DIR", state)]
    if not settings.spool_dir.is_relative_to(state):
        found.append((settings.spool_dir_variable, settings.spool_dir))
    return found


def close_state(settings: Settings, *, make: bool = False) -> None:
    """Make the state folders private; with ``make``, create missing ones. Fast and idempotent, so it runs at every start.

    Raises:
        SettingsError: a folder belongs to another user, or is world-writable and contains other programs' files.
    """
    for variable, folder in state_folders(settings):
        reason = unsafe(folder)
        if reason is not None and os.geteuid() != 0:
            raise SettingsError(
                f"{reason}: chown it to the user who runs StreamWave, or set {variable} to another folder"
            )
        if reason is None:
            _close(settings, variable, folder, make)


def unsafe(folder: Path) -> str | None:
    """Why ``folder`` cannot be made private by changing its mode: it, or a link to it, belongs to another user."""
    for look in (os.lstat, os.stat):
        try:
            owner = look(folder).st_uid
        except OSError:
            return None
        if owner not in (0, os.geteuid()):
            return f"{folder} belongs to {user_name(owner)}"
    return None


def _close(settings: Settings, variable: str, folder: Path, make: bool) -> None:
    shared = holds_output(settings, folder)
    try:
        if make:
            make_folder(folder, 0o755 if shared else 0o700)
        entries = list(os.scandir(folder))
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not make:
            return
        raise SettingsError(f"{folder} cannot be used ({error.strerror}); set {variable} to another folder") from None
    paths = [Path(entry.path) for entry in entries]
    if folder == settings.state_dir:
        alone = all(KNOWN.fullmatch(path.name) and (path.name != "spool" or _is_spool(path)) for path in paths)
    else:
        alone, paths = _is_spool(folder), []
    mode = folder.stat().st_mode
    if alone and not shared and not mode & stat.S_ISVTX:
        restrict(folder, follow=True)
    elif mode & stat.S_IWOTH:
        raise SettingsError(
            f"everybody may write to {folder}, which contains other files than StreamWave's: chmod o-w it, or set {variable} "
            "to a folder of its own"
        )
    else:
        paths = [path for path in paths if _is_ours(path)]
    for path in _below(paths):
        restrict(path)


def _below(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        yield path
        if path.name not in _DEEP and path.is_dir() and not path.is_symlink():
            with suppress(OSError):
                yield from path.iterdir()


def _is_ours(path: Path) -> bool:
    if path.name == "spool":
        return _is_spool(path)
    return bool(_FILES.fullmatch(path.name)) or any((path / name).exists() for name in _INSIDE.get(path.name, ()))


def _is_spool(folder: Path) -> bool:
    """Whether a folder contains a spool and nothing else."""
    try:
        streams = [path for path in folder.iterdir() if not _IN_SPOOL.fullmatch(path.name)]
        return all(_BROADCAST.fullmatch(name) for stream in streams for name in os.listdir(stream))
    except OSError:
        return False


def holds_output(settings: Settings, folder: Path) -> bool:
    """Whether ``folder`` contains an output. It must then stay readable, because web servers read published files."""
    return any(Path(target.url).absolute().is_relative_to(folder) for target in settings.outputs if target.is_local)


def restrict(path: Path, *, follow: bool = False) -> None:
    """Remove all permissions of other users from our file or folder. Links and files of other users are left alone.

    ``follow``: ``path`` is named by a setting, and may be a link.
    """
    try:
        found = os.stat(path, follow_symlinks=follow)
        if found.st_uid != os.geteuid() or not found.st_mode & 0o077 or not _is_plain(found.st_mode):
            return
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    except OSError:
        return
    try:
        found = os.fstat(handle)
        if found.st_uid == os.geteuid() and _is_plain(found.st_mode):
            os.fchmod(handle, stat.S_IMODE(found.st_mode) & ~0o077)
    finally:
        os.close(handle)


def _is_plain(mode: int) -> bool:
    return stat.S_ISDIR(mode) or stat.S_ISREG(mode)


def open_to_others(settings: Settings) -> list[tuple[str, str]]:
    """For each state folder that others can read or change: a sentence that says so, and what to do."""
    found: list[tuple[str, str]] = []
    for variable, folder in state_folders(settings):
        reason = unsafe(folder) or fault(folder)
        with suppress(OSError):
            if reason is None and folder.stat().st_mode & 0o077 and not holds_output(settings, folder):
                reason = f"others can look into {folder}"
        if reason is not None:
            found.append(
                (
                    f"{reason} ({variable})",
                    f"chown it to the user who runs StreamWave; if only its files are in it, "
                    f"chmod 700 it, else set {variable} to a folder of its own",
                )
            )
    return found
