#!/usr/bin/env python3
"""Write the pages of docs/ that are made from the program: `.venv/bin/python scripts/write_docs.py [--check]`."""

from __future__ import annotations

import argparse
import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from edge_agent.config import Config, Source, settings

DOCS = Path(__file__).resolve().parent.parent / "docs"

HEAD = """\
# Configuration

One TOML file holds every setting; what it leaves out has its default. Unknown names are refused.

* `edge-agent config show > config.toml` prints the whole file to start from, and `edge-agent config show -c FILE` what
  a file comes to.
* `edge-agent config check FILE` says whether a file is right or, with its line, what is wrong.
* The state folder, which relative names count from, is `EDGE_AGENT_STATE`, else what systemd gives the service, else
  `~/.local/state/edge-agent`.

This page is written by `scripts/write_docs.py`.
"""


def configuration() -> str:
    """Return docs/configuration.md: a table of settings for each table of the file."""
    lines = [HEAD]
    for table, rows in groupby(settings(), key=lambda row: row[0]):
        lines += ["## " + ("[[sources]]" if table == "sources" else f"[{table}]"), "", about(table), ""]
        lines += ["| setting | default | unit | what it is for |", "|---|---|---|---|"]
        for _, name, unit, default, sentence in rows:
            lines.append(f"| `{name}` | {value(default)} | {unit} | {sentence} |")
        lines.append("")
    return "\n".join(lines)


def about(table: str) -> str:
    """Return the sentence that a table of the file begins with."""
    section = Source if table == "sources" else type(getattr(Config(), table))
    return (section.__doc__ or "").strip()


def value(default: Any) -> str:
    """Write a default as the file would."""
    return "required" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"


PAGES = {"configuration.md": configuration}


def main() -> int:
    """Write the pages, or with `--check` say which ones are stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is stale")
    check = parser.parse_args().check
    stale = False
    for name, page in PAGES.items():
        file, text = DOCS / name, page()
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        stale = True
        if check:
            print(f"docs/{name} is stale: run scripts/write_docs.py", file=sys.stderr)
        else:
            DOCS.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
            print(f"docs/{name} written")
    return int(check and stale)


if __name__ == "__main__":
    sys.exit(main())
