"""How it is set up: the scripts, the lists of pinned packages, and a whole set-up without network."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP = Path(__file__).resolve().parent.parent
SCRIPTS = TOP / "scripts"
SHELL = [SCRIPTS / "quickstart", SCRIPTS / "test", SCRIPTS / "setup-env", SCRIPTS / "lock", TOP / ".ci" / "run"]
LISTS = ["constraints.txt", "constraints-test.txt"]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))


# ---- the scripts


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_a_script_can_be_run(script: Path) -> None:
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text or len(text.splitlines()) == 2
    subprocess.run(["bash", "-n", script], check=True)


def test_ci_runs_the_tests_and_nothing_else() -> None:
    lines = (TOP / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("exec ")
    assert "scripts/test" in lines[1]


# ---- the lists


def pins(name: str) -> dict[str, list[Requirement]]:
    """Read a list: package → its pins."""
    found: dict[str, list[Requirement]] = {}
    for entry in (SCRIPTS / name).read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        requirement = Requirement(entry.partition("--hash")[0].strip())
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


@pytest.mark.parametrize("name", LISTS)
def test_every_package_is_pinned_and_hashed(name: str) -> None:
    text = (SCRIPTS / name).read_text(encoding="utf-8")
    for entry in text.replace("\\\n", " ").splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+?)?(\s+--hash=sha256:[0-9a-f]{64})+", entry), entry[:80]


@pytest.mark.parametrize("name", LISTS)
def test_every_python_gets_the_same_version(name: str) -> None:
    """Else what passed on one Python says nothing about another (av 19, for one, is not for 3.11)."""
    assert [pinned for pinned in pins(name).values() if len(pinned) > 1] == []


@pytest.mark.parametrize("name", LISTS)
def test_no_list_says_where_packages_come_from(name: str) -> None:
    text = (SCRIPTS / name).read_text(encoding="utf-8")
    assert not re.search(r"://|index-url|find-links|trusted-host|file:|^-", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("constraints.txt", PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"] + ["editables"]),
        ("constraints-test.txt", PROJECT["dependency-groups"]["test"]),
    ],
    ids=LISTS,
)
def test_what_the_project_asks_for_is_pinned(name: str, asked: list[str]) -> None:
    held = pins(name)
    for requirement in map(Requirement, asked):
        pinned = held.get(canonicalize_name(requirement.name))
        assert pinned, f"{requirement} is not in {name}: run scripts/lock"
        for pin in pinned:
            assert requirement.specifier.contains(str(pin.specifier).removeprefix("=="), prereleases=True), (
                f"{pin} does not meet {requirement}: run scripts/lock"
            )


def test_the_test_list_holds_the_other_one() -> None:
    lines = [(SCRIPTS / name).read_text(encoding="utf-8").replace("\\\n", " ").splitlines() for name in LISTS]
    assert set(lines[0]) < set(lines[1])


# ---- a whole set-up, in a small checkout of its own

BACKEND = """\
import shutil
from pathlib import Path

def build_editable(folder, config_settings=None, metadata_directory=None):
    return shutil.copy(Path(__file__).parent / "stub_project-1.0-py3-none-any.whl", folder).rsplit("/", 1)[-1]
"""
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "stub-project"
version = "1.0"
"""


def wheel(folder: Path, name: str, code: str, entry: str = "") -> Path:
    info = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        if entry:
            archive.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{entry}\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


class Checkout:
    """A checkout with the real scripts, a stub of a project and a list of one package, on a path with a blank."""

    def __init__(self, folder: Path) -> None:
        self.top = folder / "a checkout"
        self.shop = folder / "shop"
        (self.top / "scripts").mkdir(parents=True)
        self.shop.mkdir()
        for script in ("quickstart", "setup-env"):
            shutil.copy(SCRIPTS / script, self.top / "scripts")
        (self.top / "pyproject.toml").write_text(PYPROJECT)
        (self.top / "backend.py").write_text(BACKEND)
        code = "import sys\nimport goods\ndef main():\n    print(goods.NAME, *sys.argv[1:])\n"
        wheel(self.top, "stub_project", code, "edge-agent = stub_project:main")
        self.goods = wheel(self.shop, "goods", "NAME = 'goods'\n")
        self.pin(hashlib.sha256(self.goods.read_bytes()).hexdigest())

    def pin(self, digest: str) -> None:
        for name in LISTS:
            extra = "# and the tools for tests\n" if "test" in name else ""
            (self.top / "scripts" / name).write_text(f"{extra}goods==1.0 \\\n    --hash=sha256:{digest}\n")

    def run(self, script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", self.top / "scripts" / script, *words],
            cwd=self.shop,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(self.shop),
                "EDGE_AGENT_PYTHON": sys.executable,
                "PIP_CONFIG_FILE": "/dev/null",
                "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": str(self.shop),
            }
            | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def set_up(self, name: str = "constraints.txt", **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("setup-env", str(self.top / "scripts" / name), **environment)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a checkout that is set up."""
    made = Checkout(tmp_path_factory.mktemp("setup"))
    done = made.run("quickstart", "--realtime", "a b")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0].startswith("Making .venv with Python 3.")
    assert done.stdout.splitlines()[-2:] == ["Ready: .venv/bin/edge-agent", "goods demo --realtime a b"]
    return made


def test_a_second_run_sets_up_nothing(checkout: Checkout) -> None:
    done = checkout.run("quickstart", PIP_FIND_LINKS="/nowhere")
    assert (done.returncode, done.stdout, done.stderr) == (0, "goods demo\n", "")


def test_an_environment_with_the_test_tools_will_do_for_both(checkout: Checkout) -> None:
    done = checkout.set_up("constraints-test.txt")
    assert (done.returncode, "Installing 1 pinned packages" in done.stdout) == (0, True), done.stderr
    assert checkout.set_up("constraints-test.txt").stdout == ""
    assert checkout.set_up("constraints.txt").stdout == ""


def test_a_changed_project_is_installed_again(checkout: Checkout) -> None:
    project = checkout.top / "pyproject.toml"
    project.write_text(PYPROJECT + "# changed\n")
    try:
        assert "Ready" in checkout.set_up().stdout
        assert checkout.set_up().stdout == ""
    finally:
        project.write_text(PYPROJECT)


def test_another_hash_is_refused_and_the_next_run_mends_it(checkout: Checkout) -> None:
    true = hashlib.sha256(checkout.goods.read_bytes()).hexdigest()
    python = str(checkout.top / ".venv" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "goods"], check=True, capture_output=True)
    checkout.pin("0" * 64)
    done = checkout.run("quickstart")
    assert done.returncode == 1
    assert "do not match the hashes" in done.stderr.lower().replace("don't", "do not")
    assert done.stderr.splitlines()[-2].startswith("Error: the packages could not be installed")
    assert done.stderr.splitlines()[-1].startswith("Try: ")
    assert "goods demo" not in done.stdout
    checkout.pin(true)
    assert checkout.run("quickstart").stdout.endswith("goods demo\n")


def test_a_copied_checkout_makes_its_own(checkout: Checkout, tmp_path: Path) -> None:
    """Installed scripts name the old place: `.venv/bin/pytest` of a copy would test what it was copied from."""
    copy = tmp_path / "copy"
    shutil.copytree(checkout.top, copy, symlinks=True)
    with subprocess.Popen(
        ["bash", copy / "scripts" / "setup-env", copy / "scripts" / "constraints.txt"],
        env={"PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        os.killpg(process.pid, signal.SIGKILL)
    assert first.startswith("Making .venv")


def test_another_interpreter_is_refused_in_words(checkout: Checkout) -> None:
    done = checkout.set_up(EDGE_AGENT_PYTHON="/bin/false")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Error: EDGE_AGENT_PYTHON=/bin/false is no Python 3.11, 3.12 or 3.13",
        "Try: name another, or unset it",
    ]


def test_no_python_at_all_is_said_in_words(tmp_path: Path) -> None:
    bare = Checkout(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname", "readlink", "cat", "sed", "grep"):
        (programs / name).symlink_to(shutil.which(name) or "/bin/false")
    done = bare.set_up(PATH=str(programs), EDGE_AGENT_PYTHON="")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Error: no Python 3.11, 3.12 or 3.13 was found",
        "Try: sudo apt install python3 python3-venv",
    ]


def test_an_environment_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    bare = Checkout(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").touch()
    (bare.top / ".venv").symlink_to(other)
    done = bare.set_up()
    assert done.returncode == 1
    assert "is a link" in done.stderr.splitlines()[0]
    assert [path.name for path in other.iterdir()] == ["kept"]
