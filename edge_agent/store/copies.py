"""A copy put in the place of the database: a new epoch, and nothing lost that came after the copy was taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.errors import StoreError
from edge_agent.salvage import put_in_place
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
    aside = put_in_place(copy, path)
    with Store.open(path) as store:
        kept = salvage(store, aside)[0] if aside else 0
        store.renew()
        return PutBack(store.counts().events, kept, str(aside or ""))
