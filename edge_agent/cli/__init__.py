"""The front door: one file for each group of commands, and the one place that prints errors.

Exit codes: 0 done, 1 an unforeseen fault, 2 wrong usage, and one for each kind of error (see `edge_agent.errors`).
"""

from __future__ import annotations

import os
import sys

import typer

from edge_agent.cli import (
    analyze,
    config,
    demo,
    devices,
    dictionary,
    doctor,
    evaluate,
    events,
    hub,
    keys,
    models,
    nodes,
    out,
    replay,
    review,
    rules,
    run,
    store,
)
from edge_agent.errors import EdgeError

app = typer.Typer(
    name="edge-agent",
    help="Hear sales calls on this server, notice what matters, tell head office.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

demo.register(app)
run.register(app)
devices.register(app)
analyze.register(app)
replay.register(app)
events.register(app)
review.register(app)
hub.register(app)
keys.register(app)
store.register(app)
models.register(app)
dictionary.register(app)
rules.register(app)
nodes.register(app)
evaluate.register(app)
config.register(app)
doctor.register(app)


def main() -> None:
    """Run the command line; every error ends here, in words and with an exit code."""
    try:
        app()
    except EdgeError as error:
        out.report(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader has gone (`| head`): nothing more to say, and nothing more to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if os.environ.get("EDGE_AGENT_DEBUG"):
            raise
        remedy = "this is a fault of the program; EDGE_AGENT_DEBUG=1 before the command shows where"
        out.report(EdgeError(f"{type(error).__name__}: {error}", remedy=remedy))
        sys.exit(1)
