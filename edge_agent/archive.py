"""Versions: every set of rules and classifier that has judged here is kept, so that it can be compared or brought back.

A version is a folder named as events name it (`versions.rules`): the hash of the rules, `+`, the hash of the
classifier. It holds the rule files in their order, each in a folder of the name it came from (which says whether it is
of the common set), and the classifier.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edge_agent.errors import DictionaryError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CLASSIFIER = "classifier.npz"
KEPT = 30
"""So many versions are kept; the oldest goes first."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version: its name, where it lies, and when it first judged here."""

    name: str
    folder: Path
    since: datetime

    @property
    def rule_files(self) -> list[Path]:
        """The rule files, in their order."""
        return sorted(self.folder.glob("rules/*/*/*.yaml"))

    @property
    def classifier(self) -> Path | None:
        """The classifier, if one judged."""
        path = self.folder / _CLASSIFIER
        return path if path.exists() else None


def keep(archive: Path, name: str, rule_files: Sequence[Path], classifier: Path | None) -> Path:
    """Keep a version, unless it is kept already, and return its folder.

    Raises:
        DictionaryError: it can't be written.
    """
    folder = archive / name
    if folder.is_dir():
        return folder
    making = archive / f".{name}.new"
    try:
        shutil.rmtree(making, ignore_errors=True)
        for number, path in enumerate(rule_files):
            home = making / "rules" / f"{number:03}" / path.parent.name
            home.mkdir(parents=True)
            shutil.copyfile(path, home / path.name)
        making.mkdir(parents=True, exist_ok=True)
        if classifier is not None:
            shutil.copyfile(classifier, making / _CLASSIFIER)
        making.rename(folder)
        for old in versions(archive)[:-KEPT]:
            shutil.rmtree(old.folder, ignore_errors=True)
    except OSError as error:
        if folder.is_dir():  # another process was faster
            return folder
        raise DictionaryError(
            f"the version can't be kept: {error.strerror or error}",
            where=str(folder),
            remedy="see that the disk has room and that this user owns the folder",
        ) from error
    return folder


def versions(archive: Path) -> list[Version]:
    """Return the versions that are kept, oldest first."""
    found = [
        Version(folder.name, folder, datetime.fromtimestamp(folder.stat().st_mtime, UTC))
        for folder in archive.glob("[!.]*")
        if folder.is_dir()
    ]
    return sorted(found, key=lambda version: (version.since, version.name))


def find(archive: Path, name: str) -> Version:
    """Return the version of a name, or of its first letters.

    Raises:
        DictionaryError: there is none, or more than one.
    """
    known = versions(archive)
    found = [version for version in known if version.name == name] or [
        version for version in known if version.name.startswith(name) or version.name.partition("+")[2] == name
    ]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(version.name for version in found or known) or "none yet"
    what = f"{len(found)} versions begin with `{name}`" if found else f"no version `{name}` is kept here"
    raise DictionaryError(
        what, where=str(archive), remedy=f"`edge-agent nodes versions` lists them ({listed}); or name a file or folder"
    )
