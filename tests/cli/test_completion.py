"""Completion of the command line, as a shell does it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from expunge.cli import app

TRY = """
eval "$(cat)"
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()
$(complete -p expunge | sed 's/.*-F \\([^ ]*\\).*/\\1/') expunge "${@: -1}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash on this machine")
@pytest.mark.parametrize(
    ("words", "some"),
    [
        (["expunge", "re"], {"recipes", "report", "request"}),
        (["expunge", "request", "re"], {"refuse", "reopen"}),
        (["expunge", "request", "run", "--al"], {"--all-due"}),
        (["expunge", "verify", "--s"], {"--sample"}),
    ],
)
def test_bash_completes_verbs_and_options(words: list[str], some: set[str]) -> None:
    script = app.generate_completion(shell="bash")
    done = subprocess.run(["bash", "-c", TRY, "bash", *words], input=script, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    found = {line.strip() for line in done.stdout.splitlines()}
    assert some <= found
    assert all(each.startswith(words[-1]) for each in found)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_with_every_verb(shell: str) -> None:
    script = app.generate_completion(shell=shell)
    assert [name for name in ("forget", "request", "stored", "suite", "app") if name not in script] == []
