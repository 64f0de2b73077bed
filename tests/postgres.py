"""A PostgreSQL server for the tests: Debian's, on a socket in a folder of its own, as a user that is not root."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_counter = itertools.count(1)


class Server:
    """Runs until `close`; `address()` is a place of its own in it, empty."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # Not below pytest's own folder, which only its user may enter; short, for the path of a socket has a limit.
        self.folder = Path(tempfile.mkdtemp(prefix="edge-pg-", dir="/tmp"))
        self._user = None
        if os.getuid() == 0:  # the server refuses to run as root
            self._user = pwd.getpwnam("postgres")
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self._run(
            "initdb", "-D", self.data, "-U", "hub", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-N",
        )  # fmt: skip
        self.start()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        options = (
            f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c fsync=off -c shared_buffers=16MB"
        )
        self._run("pg_ctl", "-D", self.data, "-w", "-t", "60", "-l", self.folder / "log", "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        self._run("pg_ctl", "-D", self.data, "-w", "-m", how, "stop")

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def address(self) -> str:
        schema = f"t{next(_counter)}"
        host = f"postgresql://hub@/postgres?host={self.folder}"
        self._run("psql", "-q", "-d", host, "-c", f"CREATE SCHEMA {schema}")
        return f"{host}&options=-csearch_path%3D{schema}"

    def _run(self, program: str, *arguments: str | Path) -> None:
        user, group = (self._user.pw_uid, self._user.pw_gid) if self._user else (None, None)
        done = subprocess.run(
            [str(self._programs / program), *map(str, arguments)],
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "out").open("a"),  # a file: a pipe would stay open as long as the server
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert done.returncode == 0, (self.folder / "out").read_text()[-2000:]


def programs() -> Path | None:
    """Return the folder with the newest server's programs; Debian does not put them on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    place = programs()
    if place is None:
        pytest.skip("PostgreSQL's server is not installed (Debian package postgresql)")
    server = Server(place)
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a hub's database may lie: a file, or a place on a server."""
    if request.param == "sqlite":
        return tmp_path / "hub.db"
    server: Server = request.getfixturevalue("postgres")
    return server.address()
