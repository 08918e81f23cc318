"""Adds to the wheel, besides Python modules: the players of the player page, and the Prefect deployments.

Everything else about the package is in pyproject.toml.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PLAYERS = Path("services", "media", "players")
#: Pinned in package-lock.json; `make setup` installs them.
FROM_NODE_MODULES = (
    "dashjs/LICENSE.md",
    "dashjs/dist/modern/esm/dash.mediaplayer.min.js",
    "hls.js/LICENSE",
    "hls.js/dist/hls.min.mjs",
)


class Build(build_py):
    """Copies files from outside the packages into the wheel."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        library = Path(self.build_lib)
        for name in FROM_NODE_MODULES:
            self.put(ROOT / "node_modules" / name, library / PLAYERS / name)
        self.put(ROOT / "deployments" / "prefect.yaml", library / "flows" / "prefect.yaml")

    def put(self, source: Path, target: Path) -> None:
        if not source.is_file():
            raise SystemExit(f"{source} is missing: run `make setup` first")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


setup(cmdclass={"build_py": Build})
