"""`expunge inspect`."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed, print_json


def inspect(
    target: str,
    /,
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    model: str = "smollm2-135m",
    retain: str | None = None,
    budget: str = "60s",
    topic: bool = False,
    printed: Printed = WORDS,
) -> int:
    """Show what would be forgotten, and what the model knows of it now; nothing is trained or written.

    Shows documents, tokens, terms and secrets of TARGET, its overlap with the retain set, and the measures of a run on
    a small sample of it. For a topic, eight answers are sampled from the model.

    For example:

        expunge inspect book.epub --model FOLDER

        expunge inspect letters/ posts.csv --columns text=body --retain other/ --model FOLDER --json

        expunge inspect "Harry Potter" --budget 2m

    Fields of the recipe can be given as for `expunge forget`. Pictures are not read: `expunge run` with a recipe for
    pictures reports what its query selects.

    Parameters
    ----------
    target:
        As for `expunge forget`; several files, folders or ids may be given, or several topics.
    model:
        A starter model (smollm2-135m), a folder, or a Hugging Face id.
    retain:
        The retain set, to see the overlap.
    budget:
        Time for measuring, such as 30s or 2m; what does not fit is left out and listed.
    topic:
        TARGET is a topic in words, even if it looks like a path or such a file exists.
    """
    from expunge.api import inspect as inspect_
    from expunge.runs.overrides import further_targets, read_overrides

    targets, options_left = further_targets(target, options)
    fields = read_overrides(options_left)
    if retain is not None:
        fields["retain"] = retain
    if topic:
        fields["forget_kind"] = "topic"
    show = printed.show()
    try:
        found = inspect_(targets, model=model, budget=budget, show=show, **fields)
    finally:
        show.close()
    if printed.json:
        print_json(found)
    else:
        from expunge.core.safe_text import clean

        for line in _lines(found) + ([] if printed.quiet else [f"note: {each}" for each in found["notes"]]):
            print(clean(line))
    return 0


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [_set("target", found["target"]) + f", {found['target']['language']}"]
    for entry in found["files"]:
        lines += [f"  not read: {each['file']}: {each['reason']}" for each in entry["unread"]]
    terms = found["terms"]
    lines.append(f"terms: {terms['found']:,} only in the target: {', '.join(terms['unique'][:12]) or 'none'}")
    if terms["shared_with_retain"]:
        lines.append(f"  left out, since the retain set names them: {', '.join(terms['shared_with_retain'][:12])}")
    if found["secrets"]:
        lines.append(f"secrets: {', '.join(found['secrets'])}")
    if (overlap := found["overlap"]) is not None:
        shared = f"{overlap['share']:.1%} of its runs of {overlap['run_length']} words are in the target"
        such = f', such as "{overlap["example"]}"' if overlap["example"] else ""
        lines += [_set("retain", found["retain"]), f"overlap: {shared}{such}"]
        if overlap["refused"]:
            lines.append(f"  a run would be refused: {overlap['refused']}")
    lines.append(f"what {found['model']} knows now (a sample; intervals are 95 %):")
    for row in found["knows"]:
        name = f"{row['measure'].replace('_', ' ')}, {row['split']}"
        limits = f"[{row['low']:.4g}, {row['high']:.4g}]" if row["n"] > 1 else "(too few for an interval)"
        lines.append(f"  {name:<34} {row['value']:.4g} {limits}, n = {row['n']}")
    return lines + [f"  not measured: {each}" for each in found["not_measured"]]


def _set(name: str, of: dict[str, Any]) -> str:
    from expunge.core.words import counted

    kinds = counted(of["documents"], "document") + (
        f" ({of['questions']:,} with a question)" if of["questions"] else ""
    )
    asked = ", sampled from the model" if of["asked_of_the_model"] else ""
    blocks = f"{counted(of['tokens'], 'token')} in {counted(of['blocks'], 'block')}"
    return f"{name}: {of['name']}{asked}: {kinds}, {blocks}"
