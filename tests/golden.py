"""Golden runs: what tiny runs of every kind give is recorded once, and later code is held against the recording.

    python tests/golden.py list                              the names of the runs
    python tests/golden.py record tests/golden.json          do all of them, and write down what they gave
    python tests/golden.py compare tests/golden.json         do them again, and say what differs

It is for changes that must change nothing: files that move, functions that merge. Every run is a few seconds of work on a
model made on the spot, all of them five minutes on one slow core. They go through `expunge.run`, `expunge.evaluate` and the
command line alone, so the script keeps working when what is behind them moves. The code that is tried is that in `src`
beside this file. Nothing is downloaded.

Of a run is kept: a digest of every weight tensor, with a few of its figures; scores, verdict and cost; the text of the
report, of the model card and of what a command prints, without durations, memory, dates, versions and paths; the files
of the model; and the keys of record.json. `compare` calls a run

    same bits       everything is equal, to the bit
    within 1e-6     numbers differ by no more than 1e-6 (relative or absolute), the text in a last digit at most
    DIFFERENT       anything else; what differs is shown, and the exit code is 1

`--only NAME ...` takes names, or their beginnings (`language/`), with the runs that these need; with `record` it renews
these in the file. `--work FOLDER` keeps inputs and run folders there. Bits depend on the processor and on versions; the
recording says which they were, and `compare` says where they are others. On another machine record again, with the old
code, before anything is changed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["no_proxy"] = "*"  # the judge is on the loopback interface

import torch

import expunge
from golden_comparing import Found, compare
from golden_doing import Golden
from golden_inputs import Place, digest
from golden_language import language_runs, toxicity_runs
from golden_pictures import classifier_runs, generator_runs, sisa_runs
from golden_recording import Recording

HERE = Path(__file__).resolve().parent


def every_run() -> list[Golden]:
    return [*language_runs(), *toxicity_runs(), *classifier_runs(), *sisa_runs(), *generator_runs()]


def chosen(only: Sequence[str]) -> list[Golden]:
    """The runs that are named, by name or beginning, with those that they need."""
    runs = every_run()
    wanted = {run.name for run in runs if not only or run.name.startswith(tuple(only))}
    if lost := [name for name in only if not any(run.name.startswith(name) for run in runs)]:
        sys.exit(f"there is no golden run {lost[0]}; `list` names them")
    wanted |= {need for run in runs if run.name in wanted for need in run.needs}
    return [run for run in runs if run.name in wanted]


def packed(runs: Mapping[str, Recording]) -> Recording:
    """Texts and keys with a short digest for each line, and the lines by their digests: most stand in many texts."""
    lines: dict[str, str] = {}

    def short(text: Sequence[str]) -> str:
        for line in text:
            if lines.setdefault(digest(line.encode())[:8], line) != line:
                raise RuntimeError(f"two lines have one digest: {line}")
        return " ".join(digest(line.encode())[:8] for line in text)

    made = {
        name: run
        | {"record keys": short(run.get("record keys", []))}
        | {"texts": {title: short(text) for title, text in run.get("texts", {}).items()}}
        for name, run in runs.items()
    }
    return {"runs": made, "lines": lines}


def unpacked(held: Recording) -> dict[str, Recording]:
    """The runs that `packed` has packed."""

    def long(text: str) -> list[str]:
        return [held["lines"][short] for short in text.split()]

    return {
        name: run
        | {"record keys": long(run["record keys"])}
        | {"texts": {title: long(text) for title, text in run["texts"].items()}}
        for name, run in held["runs"].items()
    }


def machine() -> dict[str, str]:
    """What bits depend on."""
    packages = ("torch", "transformers", "peft", "accelerate", "diffusers", "numpy", "tokenizers", "matplotlib")
    processor = ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    capability = torch.backends.cpu.get_cpu_capability()
    return {
        "python": platform.python_version(),
        "processor": processor,
        "instructions": capability,
        **{name: version(name) for name in packages},
    }


@contextlib.contextmanager
def at_work(folder: Path | None) -> Iterator[Place]:
    """A new place for inputs and runs; one that was not asked for goes again."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            sys.exit(f"{folder} is not empty")
        yield Place(folder)
        return
    with tempfile.TemporaryDirectory(prefix="golden-") as made:
        yield Place(Path(made))


def prepare() -> None:
    """One thread, and quiet libraries."""
    import gc

    import matplotlib.pyplot
    import transformers

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    gc.collect()
    gc.freeze()  # a run collects garbage now and then, which takes long with so many modules
    assert matplotlib.pyplot


def record(path: Path, only: Sequence[str], work: Path | None) -> int:
    held = json.loads(path.read_text(encoding="utf-8")) if only and path.is_file() else {}
    runs, inputs = unpacked(held) if held else {}, held.get("inputs", {})
    start = time.monotonic()
    with at_work(work) as place:
        todo = chosen(only)
        for number, run in enumerate(todo, 1):
            begun = time.monotonic()
            runs[run.name] = run.make(place)
            print(f"[{number:2}/{len(todo)}] {run.name:<36}{time.monotonic() - begun:6.1f} s", flush=True)
        found = {"machine": machine(), "inputs": inputs | place.inputs(), **packed(runs)}
    text = json.dumps(found, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {len(runs)} runs, {len(text.encode()) / 1e6:.2f} MB, {time.monotonic() - start:.0f} s")
    return 0


def compare_all(path: Path, only: Sequence[str], work: Path | None) -> int:
    held = json.loads(path.read_text(encoding="utf-8"))
    recorded, here = unpacked(held), machine()
    for name in sorted({*here, *held["machine"]}):
        if here.get(name) != held["machine"].get(name):
            print(f"note: {name} {here.get(name)}, recorded with {held['machine'].get(name)}: bits may differ for that")
    verdicts: dict[str, int] = {}
    shown: set[str] = set()
    start = time.monotonic()
    with at_work(work) as place:
        todo = chosen(only)
        for number, run in enumerate(todo, 1):
            begun = time.monotonic()
            try:
                after = unpacked(json.loads(json.dumps(packed({run.name: run.make(place)}))))[run.name]  # as it is read
                before = recorded.get(run.name)
                found = compare(before, after, shown) if before else Found([f"{path} does not hold this run"], [], [])
            except Exception:
                found = Found(["it broke off: " + traceback.format_exc(limit=-6).replace("\n", "\n      ")], [], [])
            verdict = found.verdict()
            verdicts[verdict] = verdicts.get(verdict, 0) + 1
            seconds = time.monotonic() - begun
            print(f"[{number:2}/{len(todo)}] {run.name:<36}{seconds:6.1f} s  {verdict}", flush=True)
            for line in [*found.different, *found.little, *(f"(note) {each}" for each in found.notes)]:
                print(f"    {line}", flush=True)
        for name, value in place.inputs().items():
            if held["inputs"].get(name) != value:
                print(f"note: the input {name} is not the recorded one: tests/ makes it otherwise, or the library does")
    lost = [] if only else sorted(recorded.keys() - {run.name for run in todo})
    for name in lost:
        print(f"{name}: recorded, and not run any more")
    total = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    print(f"{total}; {time.monotonic() - start:.0f} s; {expunge.__file__}")
    return 1 if lost or "DIFFERENT" in verdicts else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("record", "compare", "list"))
    parser.add_argument("file", nargs="?", type=Path, default=HERE / "golden.json", help="the recording")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="names of runs, or their beginnings")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="keep inputs and run folders here")
    typed_in = parser.parse_args()
    if typed_in.what == "list":
        print("\n".join(run.name for run in every_run()))
        return 0
    prepare()
    action = record if typed_in.what == "record" else compare_all
    return action(typed_in.file, typed_in.only, typed_in.work)


if __name__ == "__main__":
    sys.exit(main())
