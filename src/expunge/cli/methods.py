"""`expunge methods`."""

from __future__ import annotations


def methods(name: str | None = None, /) -> None:
    """List the methods, or show one: its formula, source and hyper-parameters.

    For example:

        expunge methods

        expunge methods whos_harry_potter

    Parameters
    ----------
    name:
        A method.
    """
    import inspect

    from expunge.methods.discovery import built_in, installed, method_class

    if name is None:
        for known in [*built_in(), *installed()]:
            kind = method_class(known)
            first = (inspect.getdoc(kind) or "").splitlines()[0]
            print(f"{known:<22} {first}")
        return
    kind = method_class(name)
    print(f"{name}\n\n{inspect.getdoc(kind)}\n")
    for field, info in kind.model_fields.items():
        print(f"--method.{field} (default {info.default})\n    {info.description or ''}")
    print(f"\nneeds: labels {kind.needs.labels}, forget set {kind.needs.forget}, retain set {kind.needs.retain}")
