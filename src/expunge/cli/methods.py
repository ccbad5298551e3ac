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
    import inspect

    from expunge.methods.base import KIND_WORDS
    from expunge.methods.discovery import built_in, installed, method_class

    if name is None:
        lines = [f"{'method':<20} {'language':<9} {'images':<7} {'generators':<11} what it is"]
        for known in [*built_in(), *installed()]:
            kind = method_class(known)
            columns = ("causal_lm", "image_classifier", "image_to_image")
            language, images, generators = ("yes" if each in kind.needs.kinds else "-" for each in columns)
            lines.append(
                f"{known:<20} {language:<9} {images:<7} {generators:<11} {(inspect.getdoc(kind) or '').splitlines()[0]}"
            )
        print("\n".join(lines))
        return
    kind = method_class(name)
    print(f"{name}\n\n{inspect.getdoc(kind)}\n")
    for field, info in kind.model_fields.items():
        print(f"--method.{field} (default {info.default})\n    {info.description or ''}")
    print("\nworks on: " + ", ".join(KIND_WORDS[each] for each in kind.needs.kinds))
    print(f"needs: labels {kind.needs.labels}, forget set {kind.needs.forget}, retain set {kind.needs.retain}")
