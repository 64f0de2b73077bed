"""The front door: help at once, errors in words with an exit code, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from edge_agent import cli
from edge_agent.errors import EdgeError

HEAVY = {"numpy", "ctranslate2", "faster_whisper", "av", "onnxruntime", "zmq", "pydantic", "pypinyin", "sqlite_utils"}
SPOKEN = os.environ | {"EDGE_AGENT_DEBUG": "", "COLUMNS": "100"}


def edge_agent(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", *words],
        env=SPOKEN,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], env=SPOKEN, capture_output=True, text=True, timeout=60, check=False
    )


def commands() -> list[str]:
    app = cli.front()
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    return names + [str(group.name) for group in app.registered_groups]


def test_help_lists_every_command_and_is_no_error() -> None:
    done = edge_agent("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ")
    listed = {line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line.split()}
    assert set(commands()) <= listed


def test_the_list_of_commands_says_what_the_commands_say() -> None:
    listed = [(name, sentence) for names in cli.COMMANDS.values() for name, sentence in names.items()]
    whole = get_command(cli.front())
    assert isinstance(whole, TyperGroup)
    assert listed == [(name, command.get_short_help_str(300)) for name, command in whole.commands.items()]


def test_no_arguments_is_the_help() -> None:
    bare, full = edge_agent(), edge_agent("--help")
    assert full.stdout.strip() in (bare.stdout + bare.stderr)
    assert "Traceback" not in bare.stderr


def test_every_command_has_a_sentence_of_help() -> None:
    listing = edge_agent("--help").stdout.partition("Commands:")[2]
    for line in filter(None, map(str.strip, listing.splitlines())):
        assert len(line.split()) > 2, f"no help: {line}"


def test_help_loads_nothing_heavy() -> None:
    done = python(
        "import sys\n"
        "sys.argv = ['edge-agent', '--help']\n"
        "from edge_agent.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(*sys.modules, file=sys.stderr)\n"
    )
    assert done.returncode == 0
    assert HEAVY & set(done.stderr.split()) == set()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-such-command"], "no-such-command"),
        (["config", "no-such-command"], "no-such-command"),
        (["version", "--no-such-option"], "--no-such-option"),
        (["config", "check"], "FILE"),
        (["version", "too", "much"], "too"),
    ],
)
def test_wrong_usage(words: list[str], said: str) -> None:
    done = edge_agent(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Error: " in done.stderr
    assert "Try " in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_every_kind_of_error_has_its_own_exit_code() -> None:
    kinds = EdgeError.__subclasses__()
    assert len(kinds) > 5
    codes = [kind.exit_code for kind in kinds if kind.__name__ != "WireError"]  # the uplink's, seen from the wire
    assert len(set(codes)) == len(codes)
    assert not {0, 1, 2, 130, 141} & set(codes)


@pytest.mark.parametrize("kind", EdgeError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_an_error_is_said_in_words(
    kind: type[EdgeError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise kind("it is broken", where="line 7", remedy="mend it")

    monkeypatch.setattr(cli, "front", lambda words: command)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == kind.exit_code
    assert capsys.readouterr() == ("", "Error: line 7: it is broken\nTry: mend it\n")


def test_a_fault_of_the_program_is_no_traceback_unless_asked_for() -> None:
    program = "import edge_agent.cli as cli\ncli.front = lambda words: 1 / 0\ncli.main()\n"
    done = python(program)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "Error: ZeroDivisionError: division by zero"
    assert done.stderr.splitlines()[1].startswith("Try: ")
    assert "Traceback" not in done.stderr
    assert "Traceback" in python("import os\nos.environ['EDGE_AGENT_DEBUG'] = '1'\n" + program).stderr


@pytest.mark.parametrize("words", [["config", "show"], ["config", "show", "--json"], ["--help"]])
def test_a_reader_that_has_gone_is_no_fault(words: list[str]) -> None:
    """As in `edge-agent … | head -1`; the reader is gone before the first byte, so that the write surely fails."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", *words],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode in (1, 141)


def test_the_module_and_the_script_are_the_same() -> None:
    script = Path(sys.executable).with_name("edge-agent")
    if not script.exists():
        pytest.skip("the package is not installed into this environment")
    done = subprocess.run([script, "version"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == edge_agent("version").stdout
