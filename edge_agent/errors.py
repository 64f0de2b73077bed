"""What can go wrong, in words for the person who meets it.

Every error a user may see is an `EdgeError`: what happened, where, and what to try. It is printed in one place
(`edge_agent.cli.main`), and its class decides the exit code of the command.
"""

from __future__ import annotations


class EdgeError(Exception):
    """Something went wrong that a person can mend.

    `what` says what happened, `where` names the file, line, field or address, `remedy` says what to try.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        """Say where and what; the remedy stands on a line of its own."""
        return f"{self.where}: {self.what}" if self.where else self.what


class AudioError(EdgeError):
    """An audio source can't be opened or read."""

    exit_code = 3


class ConfigError(EdgeError):
    """The configuration is wrong."""

    exit_code = 4


class ModelError(EdgeError):
    """A model folder is missing, damaged or foreign."""

    exit_code = 5


class DictionaryError(EdgeError):
    """A dictionary pack or a rule file is wrong."""

    exit_code = 6


class StoreError(EdgeError):
    """The database can't be opened, read or written."""

    exit_code = 7


class UplinkError(EdgeError):
    """Head office was not reached, or did not acknowledge."""

    exit_code = 8


class WireError(EdgeError):
    """A message on the wire breaks the protocol."""

    exit_code = 8


class KeyFileError(EdgeError):
    """A CURVE key or an allow-list is missing, damaged or open to others."""

    exit_code = 9


class TranscriptError(EdgeError):
    """A file of transcripts or text lines can't be read."""

    exit_code = 10


class ControlError(EdgeError):
    """The running appliance can't be reached over its local socket."""

    exit_code = 11


class SetupError(EdgeError):
    """The machine lacks something that the appliance needs; `doctor` tells what."""

    exit_code = 12


class OverloadError(EdgeError):
    """A call is not heard because recognition is too far behind."""

    exit_code = 13
