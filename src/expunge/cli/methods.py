"""`expunge methods`."""

from __future__ import annotations

from expunge.core.printed import WORDS, Printed, print_json


def methods(name: str | None = None, /, *, printed: Printed = WORDS) -> None:
    """List the methods and the kinds of model that each works on, or show one: formula, source and hyper-parameters.

    For example:

        expunge methods

        expunge methods whos_harry_potter

    Parameters
    ----------
    name:
        A method.
    """
    from expunge.runs.kinds import kinds_by_name
    from expunge.runs.registry import method_class, words_of, working_on

    if name is None:
        short = {each: kind.short for each, kind in kinds_by_name().items()}
        known = {each: method_class(each) for each in working_on()}
        works_on = {
            each: ", ".join(short[of] for of in found.needs.kinds if of in short) for each, found in known.items()
        }
        if printed.json:
            print_json(
                [
                    {"name": each, "works_on": works_on[each].split(", "), "what": found.citation()}
                    for each, found in known.items()
                ]
            )
            return
        width, wide = max(map(len, known)), max(map(len, works_on.values()))
        print(f"{'method':<{width}}  {'works on':<{wide}}  what it is")
        for each, found in known.items():
            print(f"{each:<{width}}  {works_on[each]:<{wide}}  {found.citation()}")
        if not printed.quiet:
            print("\nimages: classifiers; sharded: models trained in shards. Each in full: expunge methods NAME")
        return
    kind = method_class(name)
    if printed.json:
        print_json(
            {
                "name": name,
                "what": kind.described(),
                "works_on": words_of(kind),
                "fields": kind.model_json_schema()["properties"],
            }
        )
        return
    print(f"{name}\n\n{kind.described()}\n")
    for field, info in kind.model_fields.items():
        print(
            f"--method.{field} (default {'none' if info.default is None else info.default})\n    {info.description or ''}"
        )
    print("\nworks on: " + ", ".join(words_of(kind)))
    retain = {
        "never": "not used",
        "always": "needed",
        "weighted": "used if retain_weight is above 0",
        "wrapped": "used if the method in `of` uses it",
    }[kind.needs.retain]
    print(f"forget set: {'needed' if kind.needs.forget else 'not used'}; retain set: {retain}")
    if names := kind().signal_names:
        print("made before training (signals): " + ", ".join(names))
