"""`expunge init`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from expunge.core.printed import Quiet

if TYPE_CHECKING:
    from expunge.runs.recipe import BaseRecipe

Sort = Literal["language", "classifier", "generator"]
TASKS: Mapping[str, str] = {"language": "causal_lm", "classifier": "image_classifier", "generator": "image_to_image"}
FORGET: Mapping[str, str] = {
    "language": "What should be forgotten? (a file or folder, a dataset id, or a topic in words)",
    "classifier": "What should be forgotten? (a file of people, a query such as age <= 12, class:NAME, random:0.02)",
    "generator": "What should be forgotten? (a file of people, a query such as age <= 12, class:NAME)",
}
REST: Mapping[str, str] = {
    "language": "What should be retained? (a file or folder of similar text; empty: text sampled from the model)",
    "classifier": "Where are the pictures? (a folder, a CSV, an .npz or a dataset id)",
    "generator": "Where are the pictures? (a folder, a CSV, an .npz or a dataset id)",
}


def init(
    out: Path = Path("recipe.yaml"),
    /,
    *,
    sort: Sort | None = None,
    model: str | None = None,
    forget: str | None = None,
    retain: str | None = None,
    data: str | None = None,
    method: str | None = None,
    quiet: Quiet = False,
) -> None:
    """Write a recipe with comments, to run as it is or to edit; on a terminal, five questions are asked.

    Options that are given are not asked for. No file is overwritten.

    For example:

        expunge init

        expunge init book.yaml --sort language --model smollm2-135m --forget book.txt --retain other.txt --method npo

    Parameters
    ----------
    out:
        The file to write.
    sort:
        The kind of model.
    model:
        A starter model, one that is trained from random weights, a folder, or a Hugging Face id.
    forget:
        What to forget.
    retain:
        For a language model: the retain set.
    data:
        For a classifier or generator: the pictures.
    method:
        One of `expunge methods`.
    """
    from expunge.core import storage
    from expunge.errors import RecipeError
    from expunge.runs.kinds import kinds_of, read_recipe
    from expunge.runs.recipe import make
    from expunge.runs.registry import make_method, working_on

    if out.exists():
        raise RecipeError(f"{out} already exists", next_step="give another file: expunge init NAME.yaml")
    chosen = _asked("sort", sort, f"What kind of model? ({', '.join(TASKS)})", "language", tuple(TASKS))
    kinds = kinds_of(TASKS[chosen])
    kind = kinds[0].recipe
    fields: dict[str, Any] = {} if chosen == "language" else {"task": TASKS[chosen]}
    fields["model"] = _asked(
        "model", model, "Which model? (a name, a folder or an id)", kind.model_fields["model"].default
    )
    rest = (
        _asked("retain", retain, REST[chosen], "") if chosen == "language" else _asked("data", data, REST[chosen], None)
    )
    fields["forget"] = _asked("forget", forget, FORGET[chosen], None)
    if rest:
        fields["retain" if chosen == "language" else "data"] = rest
    able = working_on(*(each.name for each in kinds))
    name = _asked("method", method, "Which method? (`expunge methods` lists them)", kind.default_method, tuple(able))
    made = make(kind, fields, {"method.name": name})
    make_method(made.method, *(each.name for each in kinds))
    storage.write_text(out, recipe_text(made, fields, name, out))
    read_recipe(out)
    if not quiet:
        print(f"Written: {out}\nRun it:  expunge run {out} --out runs/{out.stem}")


def _asked(option: str, given: str | None, question: str, default: str | None, allowed: tuple[str, ...] = ()) -> str:
    """An option's value, or the answer to a question; empty is the default. Without a terminal the default is used."""
    from rich.console import Console

    from expunge.errors import RecipeError, did_you_mean

    there = sys.stdin.isatty()
    if given is None and not there and default is None:
        raise RecipeError(f"--{option} is missing", next_step=f"give --{option}, or answer the question on a terminal")
    while given is None:
        hint = f" [{default}]" if default else ""
        answer = (Console().input(f"{question}{hint}: ", markup=False).strip() if there else "") or default
        if answer is None or (allowed and answer not in allowed):
            print(did_you_mean(answer or "", allowed) or "An answer is needed.")
            continue
        return answer
    if allowed and given not in allowed:
        raise RecipeError(
            f"there is no {option} {given!r} for this",
            allowed=", ".join(allowed),
            next_step=did_you_mean(given, allowed),
        )
    return given


def recipe_text(recipe: BaseRecipe, fields: Mapping[str, Any], method: str, path: Path) -> str:
    """A recipe file: the choices, and as comments the method's fields and the parts, each with its help and default."""
    import yaml

    from expunge.runs.registry import method_class

    kind = type(recipe)
    lines = [f"# Written by expunge init. Run it:  expunge run {path.name} --out runs/{path.stem}",
             "# A line that begins with # is a comment that shows a default: remove the # and change it.", ""]  # fmt: skip
    for name, value in fields.items():
        lines += [*_comment(kind.model_fields[name].description if name in kind.model_fields else None, ""),
                  yaml.safe_dump({name: value}, allow_unicode=True, width=1000).rstrip()]  # fmt: skip
    lines += ["", "method:", f"  name: {method} # all about it: expunge methods {method}"]
    for name, info in method_class(method).model_fields.items():
        lines += _field(name, info)
    for part in ("training", "unlearning", "verdict"):
        inner = getattr(kind.model_fields.get(part, None), "annotation", None)
        if inner is not None:
            lines += ["", f"# {part}:"]
            for name, info in inner.model_fields.items():
                lines += _field(name, info)
    return "\n".join(lines) + "\n"


def _field(name: str, info: Any) -> list[str]:
    import yaml

    if info.is_required():
        return []
    default = info.get_default(call_default_factory=True)
    if hasattr(default, "model_dump"):
        default = default.model_dump(mode="json")
    shown = yaml.safe_dump(default, default_flow_style=True, allow_unicode=True, width=1000, sort_keys=False)
    return [*_comment(info.description, "  "), f"  # {name}: {shown.removesuffix(chr(10)).removesuffix('...').strip()}"]


def _comment(text: str | None, indent: str) -> list[str]:
    import textwrap

    return [f"{indent}## {line}" for line in textwrap.wrap(" ".join((text or "").split()), 112)]
