"""A copy put in the place of the database: a new epoch, and nothing lost that came after the copy was taken."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.errors import StoreError
from edge_agent.sqlite import move_aside, sync
from edge_agent.store.database import Store
from edge_agent.store.rescue import salvage

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class PutBack:
    """How many events there are now, how many of them are newer than the copy, and where the former database lies."""

    events: int
    kept: int
    aside: str


def put_back(copy: Path, path: Path) -> PutBack:
    """Put a copy in the place of a database that nobody has open.

    Raises:
        StoreError: the copy is missing, damaged, foreign or of another version, or the disk refuses. The database is
            then as it was, or lies beside under the name that is told.
    """
    with Store.open(copy, readonly=True) as store:
        if found := store.damage():
            raise StoreError(f"the copy is damaged: {found}", where=str(copy), remedy="take another copy")
    whole = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(copy, whole)
        whole.chmod(0o600)
        sync(whole)
        aside = move_aside(path, "replaced") if path.exists() else None
        os.replace(whole, path)
        sync(path.parent)
    except OSError as error:
        raise StoreError(
            f"the copy can't be put in place ({error.strerror})",
            where=str(path),
            remedy="see `df`, and who owns the folder",
        ) from error
    finally:
        whole.unlink(missing_ok=True)
    with Store.open(path) as store:
        kept = salvage(store, aside)[0] if aside else 0
        store.renew()
        return PutBack(store.counts().events, kept, str(aside or ""))
