"""Compiled dictionaries that are kept: a file for each set of packs, under the hash of what it was compiled of.

So nobody compiles the same twice. A damaged file is passed over and made anew, an older program's is never read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_agent.terms import Dictionary

log = logging.getLogger(__name__)

_MOST = 8  # dictionaries that are kept; the one before must be there for a rollback


class Kept:
    """A folder of compiled dictionaries, which may be deleted at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, packs: Iterable[Sequence[str]]) -> Path:
        """Return where the dictionary of these packs lies, if it is kept; each is named by whatever tells it apart."""
        content = json.dumps([compiler(), *map(list, packs)])
        return self.folder / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.dictionary"

    @staticmethod
    def read(file: Path) -> Dictionary | None:
        """Return the dictionary in a file; None if there is none, or a damaged one."""
        from edge_agent.terms import Dictionary, compiled

        try:
            return Dictionary.from_parts(compiled.read(file))
        except FileNotFoundError:
            return None
        except (OSError, compiled.Damaged, KeyError, ValueError) as error:
            log.warning("the compiled dictionary is made anew, for %s is damaged: %s", file, error)
            return None

    def keep(self, file: Path, dictionary: Dictionary) -> None:
        """Write a dictionary, and let the oldest go; a disk that refuses is no fault."""
        from edge_agent.terms import compiled

        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            compiled.write(file, dictionary.parts())
            for old in sorted(self.folder.glob("*.dictionary"), key=lambda each: -each.stat().st_mtime)[_MOST:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            log.info("the compiled dictionary is not kept: %s", error)


@cache
def compiler() -> str:
    """Return a hash of what compiles, so that an update of the program never reads an older one's files."""
    from edge_agent import phonetics, terms

    content = hashlib.sha256(sys.version.encode())
    for file in [*sorted(Path(terms.__file__).parent.glob("*.py")), Path(phonetics.__file__)]:
        content.update(file.read_bytes())
    return content.hexdigest()
