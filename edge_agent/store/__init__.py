"""The keep: one transaction, after which nothing is lost.

`Store` is the database; `Keeper` is the one thread that writes it. Calls, transcripts and events go in together, and
every event waits in the outbox until head office has acknowledged it.
"""

from edge_agent.store.copies import PutBack, put_back
from edge_agent.store.database import Store
from edge_agent.store.keeper import Keeper
from edge_agent.store.library import Change, Library
from edge_agent.store.rescue import Rescue, last_rescue, salvage
from edge_agent.store.reviews import Reviews, Share, Verdict, Waiting, Word, muted, source
from edge_agent.store.room import Space
from edge_agent.store.rows import Counts, Ended, OutboxRow, State, StoredEvent

__all__ = [
    "Change",
    "Counts",
    "Ended",
    "Keeper",
    "Library",
    "OutboxRow",
    "PutBack",
    "Rescue",
    "Reviews",
    "Share",
    "Space",
    "State",
    "Store",
    "StoredEvent",
    "Verdict",
    "Waiting",
    "Word",
    "last_rescue",
    "muted",
    "put_back",
    "salvage",
    "source",
]
