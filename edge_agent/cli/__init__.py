"""The front door: one file for each group of commands, and the one place that prints errors.

Exit codes: 0 done, 1 an unforeseen fault, 2 wrong usage, and one for each kind of error (see `edge_agent.errors`).
Only the file of the command that was asked for is imported: the list of all others is this page.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import typer

from edge_agent.cli import out
from edge_agent.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: dict[tuple[str, ...], dict[str, str]] = {
    ("demo",): {
        "demo": "Play a call through the whole appliance: transcript, terms, nodes, events, and a hub that acknowledges"
        " them."
    },
    ("run",): {
        "run": "Hear the configured sources until it is stopped (SIGTERM); SIGHUP loads dictionary and rules anew.",
        "status": "Show how the running appliance does.",
        "reload": "Have the running appliance load dictionary and rules anew.",
        "pause": "Drop the audio of a call, or of all live calls, while a card number is read out, say; who asked is"
        " recorded.",
        "resume": "Hear a call, or all calls, again.",
    },
    ("devices",): {
        "devices": "List the sound devices that can be heard, with the ids that [[sources]] names; with --meter, show"
        " their level."
    },
    ("analyze",): {
        "transcribe": "Write down what was said in recordings, in order of start, with the dictionary's terms.",
        "analyze": "Write down what was said and find the moments that matter; prints utterances and events as they"
        " come.",
    },
    ("replay",): {"replay": "Find the moments that matter in calls that are there as text."},
    ("doctor",): {
        "doctor": "Look at the machine, the model, the dictionary and what the site keeps, and say what to mend.",
        "version": "Print the version of the appliance, and of what it stands on.",
    },
    ("events", "review"): {"events": "List, show and export the events that are kept here."},
    ("hub",): {"hub": "Head office's end of the wire; `hub` alone runs it."},
    ("keys",): {"keys": "Make and show the CURVE key of this machine."},
    ("store",): {"store": "Copy the branch's database, put a copy back, check it."},
    ("models",): {"model": "The recognizer's models: bring them in, check them, choose one."},
    ("dictionary",): {"dict": "The dictionary of terms: what it holds, and every change of it."},
    ("rules",): {"rules": "Check rule files."},
    ("nodes",): {"nodes": "Versions of rules and classifier, shadow, and learning from reviews."},
    ("evaluate",): {"eval": "Measure quality on labelled data."},
    ("config",): {"config": "The settings: what there is, and whether a file is right."},
}
"""The files, and the commands that each brings with the first sentence of its help, in the order of the help."""


def front(words: Sequence[str] | None = None) -> typer.Typer:
    """Return the command line for these arguments: the command that they ask for, and the names of the others.

    Without arguments all commands are there.
    """
    app = typer.Typer(
        name="edge-agent",
        help="Hear sales calls on this server, notice what matters, tell head office.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    asked = next((word for word in words or () if not word.startswith("-")), None)
    for files, names in COMMANDS.items():
        if words is None or asked in names:
            for file in files:
                import_module(f"{__name__}.{file}").register(app)
        else:
            for name, sentence in names.items():
                app.command(name, help=sentence)(_elsewhere)
    return app


def _elsewhere() -> None:
    """Stand in the list for a command that was not asked for."""


def __getattr__(name: str) -> typer.Typer:
    if name == "app":
        return front()
    raise AttributeError(name)


def main() -> None:
    """Run the command line; every error ends here, in words and with an exit code."""
    try:
        front(sys.argv[1:])()
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
