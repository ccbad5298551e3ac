"""A disk that is full or may not be written: the place is named, what was done stays, and the run resumes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fork_server import Commands, Ended, Whole
from small import contents, leftovers, results


def stages(out: Path) -> dict[str, str]:
    """Files of the stages, without the answers that a stage has sampled so far: they go when it is done."""
    found = contents(out / "stages")
    return {name: digest for name, digest in found.items() if not name.endswith("-so-far.json")}


def refused(ended: Ended, out: str, reason: str, step: str) -> str:
    """Check the message of a run that could not write; what it could not write."""
    assert ended.code == 1, ended
    what, seen, following = ended.err[ended.err.index("expunge: ") :].splitlines()
    assert what.startswith(f"expunge: cannot write {out}"), what
    assert seen == f"  seen:    {reason}"
    assert step in following
    return what.removeprefix(f"expunge: cannot write {out}").lstrip("/")


def test_a_limit_on_the_size_of_files(commands: Commands, place: Path, command: Sequence[str], whole: Whole) -> None:
    """Raised bit by bit, so that the run breaks off in one stage after another."""
    out = place / "limited"
    before: dict[str, str] = {}
    broken_off = []
    for limit in (0, 2_000, 12_000, 60_000, 200_000):
        ended = commands.run([*command, "--out", out.name], place, file_limit=limit)
        broken_off.append(refused(ended, "limited", "File too large", "raise the file size limit (ulimit -f)"))
        assert leftovers(out) == []
        assert before.items() <= stages(out).items()
        before = stages(out)
    assert len({path.split("-")[0] for path in broken_off}) > 2, broken_off
    ended = commands.run([*command, "--out", out.name], place)
    assert ended.code == 3, ended.err
    assert results(out) == whole.results


def mount(folder: Path, options: str) -> bool:
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode == 0


@pytest.fixture
def disk(place: Path) -> Iterator[Path]:
    """A file system of its own, where this process may make one."""
    folder = place / "disk"
    folder.mkdir()
    if not mount(folder, "size=96k"):
        pytest.skip("only root may mount a file system; the limit above covers the same paths")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.long  # the limit above breaks the same writing off in every test run
def test_a_file_system_that_is_full(
    disk: Path, commands: Commands, place: Path, command: Sequence[str], whole: Whole
) -> None:
    before: dict[str, str] = {}
    broken_off = []
    for size in (16, 96, 400, 900):
        subprocess.run(["mount", "-o", f"remount,size={size}k", disk], check=True)
        ended = commands.run([*command, "--out", "disk/run"], place)
        broken_off.append(refused(ended, "disk/run", "No space left on device", "free some space and run the same"))
        assert leftovers(disk / "run") == []
        if (disk / "run" / "stages").is_dir():
            assert before.items() <= stages(disk / "run").items()
            before = stages(disk / "run")
    assert before
    assert len(set(broken_off)) > 2, broken_off
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    ended = commands.run([*command, "--out", "disk/run"], place)
    assert ended.code == 3, ended.err
    assert results(disk / "run") == whole.results


def test_a_place_that_cannot_be_written(commands: Commands, place: Path, command: Sequence[str]) -> None:
    (place / "a-file").write_text("something else")
    ended = commands.run([*command, "--out", "a-file/below/it"], place)
    assert refused(ended, "a-file/below/it", "Not a directory", "check the path") == ""
    ended = commands.run([*command, "--out", "a-file"], place)
    assert ended.code == 1
    assert "a-file is a file; a run writes a folder" in ended.err
    assert (place / "a-file").read_text() == "something else"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(commands: Commands, place: Path, command: Sequence[str]) -> None:
    folder = place / "locked"
    folder.mkdir(mode=0o555)
    ended = commands.run([*command, "--out", "locked/run"], place)
    refused(ended, "locked/run", "Permission denied", "choose another --out folder, or give yourself permission")
