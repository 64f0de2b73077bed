"""A branch that commits events without end and tells the hub of them; it is there to be killed.

Arguments: the database, the uplink's settings as JSON, a seed. After each commit it prints the last sequence, so that
whoever reads knows what it had promised.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from edge_agent.config import Uplink
from edge_agent.store import Keeper

from .line import event, running


def main() -> None:
    path, settings, seed = sys.argv[1:]
    chance = random.Random(seed)
    with Keeper(Path(path)) as keeper, running(keeper, Uplink.model_validate_json(settings)):
        while True:
            committed = keeper.keep(events=[event(number) for number in range(chance.randint(1, 20))]).result()
            print(committed, flush=True)
            time.sleep(chance.uniform(0, 0.01))


if __name__ == "__main__":
    main()
