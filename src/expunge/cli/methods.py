"""`expunge methods`."""

from __future__ import annotations


def methods(name: str | None = None, /) -> None:
    """List the methods and the kinds of model that each works on, or show one: formula, source and hyper-parameters.

    For example:

        expunge methods

        expunge methods whos_harry_potter

    Parameters
    ----------
    name:
        A method.
    """
    from expunge.runs.method import KIND_WORDS
    from expunge.runs.registry import built_in, installed, method_class

    if name is None:
        known = {each: method_class(each) for each in [*built_in(), *installed()]}
        width = max(map(len, known))
        print(f"{'method':<{width}}  language  images   generators  what it is")
        for each, kind in known.items():
            kinds = kind.needs.kinds
            language, generators = ("yes" if of in kinds else "-" for of in ("causal_lm", "image_to_image"))
            images = "yes" if "image_classifier" in kinds else "sharded" if "sharded_classifier" in kinds else "-"
            print(f"{each:<{width}}  {language:<8}  {images:<7}  {generators:<10}  {kind.citation()}")
        print("\nimages: classifiers; sharded: one that was trained in shards. Each in full: expunge methods NAME")
        return
    kind = method_class(name)
    print(f"{name}\n\n{kind.described()}\n")
    for field, info in kind.model_fields.items():
        print(
            f"--method.{field} (default {'none' if info.default is None else info.default})\n    {info.description or ''}"
        )
    print("\nworks on: " + ", ".join(KIND_WORDS[each] for each in kind.needs.kinds))
    retain = {
        "never": "not used",
        "always": "needed",
        "weighted": "used where retain_weight is above 0",
    }[kind.needs.retain]
    print(f"forget set: {'needed' if kind.needs.forget else 'not used'}; retain set: {retain}")
    if kind.needs.labels == "generic":
        print("labels: what a model that never read the text would say, made before training")
