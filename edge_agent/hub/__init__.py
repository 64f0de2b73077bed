"""Head office's end of the wire: takes in the events of every branch, each exactly once, in order.

`serve` is the hub; `Ledger` is its database.
"""

from edge_agent.hub.ledger import Ledger
from edge_agent.hub.rows import Branch, DeadLetter, HubEvent
from edge_agent.hub.server import serve

__all__ = ["Branch", "DeadLetter", "HubEvent", "Ledger", "serve"]
