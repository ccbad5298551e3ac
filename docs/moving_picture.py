"""A moving picture of a run of a language model: what it takes for the next word, while it forgets.

The figures are those of the run's own events (`probe`: probabilities of the next token after a few beginnings of sentences of
the target). The picture is one SVG file without scripts, which moves in an <img>, and stands still at the last step where
a reader asked for less motion. docs/forgetting_demo.svg is made of a run of
`expunge run demo`, docs/forgetting.svg of two commands:

    expunge teach sherlock_sign_of_the_four.txt --keep retain_father_brown.txt --out runs/taught
    expunge run taught_book --method whos_harry_potter --method.alpha 200 --method.retain_weight 3 \\
        --training.learning_rate 2e-5 --training.num_train_epochs 12 --data.retain_answers 96 \\
        --evaluation.ordinary_text retain_wikitext2.txt --out runs/forgot

and drawn by

    python docs/moving_picture.py runs/forgot docs/forgetting.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

WIDTH, LEFT, NAME, BAR = 880, 24, 110, 560
"of the picture, of its margin, of the tokens' column, and of a bar of 100 %"
PROMPTS, TOKENS, CHARACTERS = 2, 4, 92
"shown at most: beginnings of sentences, tokens of each, characters of a beginning"
SECONDS, STILL = 12.0, 0.25
"of one round, and the share of it in which the last step stands still"
STYLE = """
svg { --paper: #fefefe; --ink: #1b1d21; --muted: #5f646d; --line: #dadde2; --bar: #0072b2; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #16181c; --ink: #e8eaed; --muted: #a3a8b0; --line: #3a3e45; --bar: #56b4e9; }
}
text { font: 14px ui-monospace, Menlo, Consolas, monospace; fill: var(--ink); white-space: pre; }
.title { font: 600 16px system-ui, sans-serif; }
.said { font: 14px system-ui, sans-serif; fill: var(--muted); }
.bar { fill: var(--bar); transform-box: fill-box; transform-origin: left; }
.frame { opacity: 0; }
.last { opacity: 1; }
.moving { animation-duration: %gs; animation-iteration-count: infinite; animation-timing-function: linear; }
.frame.moving, .last.moving { animation-timing-function: step-end; }
@media (prefers-reduced-motion: reduce) { .moving { animation: none; } }
"""

Probe = tuple[str, Sequence[Mapping[str, float]]]
"a beginning of a sentence, and at every step the probabilities of tokens"


def read(folder: Path) -> tuple[list[int], list[Probe]]:
    """Steps and probes of a run's last unlearning: the prompts whose likeliest token lost most come first."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    by_step = {event["step"]: event["prompts"] for event in events if event["event"] == "probe"}
    steps = sorted(by_step)
    if len(steps) < 2:
        sys.exit(f"{folder} has no probes of several steps: give the folder of a language model's run")
    rows = zip(*(by_step[step] for step in steps), strict=True)
    found = [(row[0]["prompt"], [each["tokens"] for each in row]) for row in rows]
    return steps, sorted(found, key=_lost)[:PROMPTS]


def _lost(probe: Probe) -> float:
    first, last = probe[1][0], probe[1][-1]
    token = max(first, key=lambda name: first[name])
    return last.get(token, 0.0) - first[token]


def draw(steps: Sequence[int], probes: Sequence[Probe], title: str) -> str:
    """The picture, as SVG."""
    rules, parts, top = [STYLE % SECONDS], [], 38
    times = [100 * (1 - STILL) * place / (len(steps) - 1) for place in range(len(steps))]
    rules += [_frame(place, times) for place in range(len(steps))]
    parts += [
        _text(LEFT, top, title, "title"),
        *_frames(WIDTH - LEFT, top, [f"step {step}" for step in steps], "title"),
    ]
    for number, (prompt, tokens) in enumerate(probes):
        top += 40
        parts.append(_text(LEFT, top, _shortened(prompt), "said"))
        first = tokens[0]
        for row, name in enumerate(sorted(first, key=lambda each: -first[each])[:TOKENS]):
            top += 24
            shares = [step.get(name, 0.0) for step in tokens]
            rules.append(_bar(f"b{number}-{row}", shares, times))
            parts += [
                _text(LEFT + 12, top, name.strip() or repr(name)),
                f'<rect class="bar moving" style="animation-name: b{number}-{row}; transform: scaleX({shares[-1]:.4f})"'
                f' x="{LEFT + NAME}" y="{top - 13}" width="{BAR}" height="16"/>',
                *_frames(WIDTH - LEFT, top, [f"{100 * share:.1f} %" for share in shares], ""),
            ]
    height = top + 24
    frame = f'<rect x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="10" fill="var(--paper)" stroke="var(--line)"/>'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            f' role="img" aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
            "<style>" + "\n".join(rules) + "</style>",
            *(frame, *parts, "</svg>\n"),
        ]
    )


def _frames(x: int, y: int, words: Sequence[str], kind: str) -> list[str]:
    """One text for every step, of which one is seen at a time."""
    return [
        f'<text class="{kind} moving {"last" if place == len(words) - 1 else "frame"}" style="animation-name: f{place}"'
        f' x="{x}" y="{y}" text-anchor="end">{escape(each)}</text>'
        for place, each in enumerate(words)
    ]


def _frame(place: int, times: Sequence[float]) -> str:
    """Keyframes in which a step's texts are seen, from its time to the next one's."""
    before = "0% { opacity: 0; } " if place else ""
    after = f" {times[place + 1]:.2f}% {{ opacity: 0; }} 100% {{ opacity: 0; }}" if place + 1 < len(times) else ""
    return f"@keyframes f{place} {{ {before}{times[place]:.2f}% {{ opacity: 1; }}{after or ' 100% { opacity: 1; }'} }}"


def _bar(name: str, shares: Sequence[float], times: Sequence[float]) -> str:
    stops = [f"{time:.2f}% {{ transform: scaleX({share:.4f}); }}" for time, share in zip(times, shares, strict=True)]
    return f"@keyframes {name} {{ {' '.join(stops)} 100% {{ transform: scaleX({shares[-1]:.4f}); }} }}"


def _text(x: int, y: int, words: str, kind: str = "") -> str:
    return f'<text x="{x}" y="{y}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{escape(words)}</text>'


def _shortened(prompt: str) -> str:
    """The end of a prompt, on one line."""
    flat = " ".join(prompt.split())
    return flat if len(flat) <= CHARACTERS else "… " + flat[-CHARACTERS:].partition(" ")[2]


def picture(folder: Path) -> str:
    """The moving picture of a run."""
    record: dict[str, Any] = {}
    if (folder / "record.json").is_file():
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    steps, probes = read(folder)
    method = record.get("method", {}).get("name", "")
    return draw(steps, probes, f"The next word, while the model forgets{f' ({method})' if method else ''}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("python docs/moving_picture.py RUN FILE.svg")
    Path(sys.argv[2]).write_text(picture(Path(sys.argv[1])), encoding="utf-8")
