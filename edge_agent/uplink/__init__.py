"""The branch's end of the wire: takes what waits in the outbox to head office, until head office says it has it."""

from edge_agent.uplink.outbox import Outbox
from edge_agent.uplink.receiver import Receiver
from edge_agent.uplink.status import Status, Trouble
from edge_agent.uplink.uplink import Uplink

__all__ = ["Outbox", "Receiver", "Status", "Trouble", "Uplink"]
