"""Write the pages of recipes and methods from the code: `python docs/generate.py`. A test holds them equal."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from expunge.core.settings import Part
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.language.recipe import Recipe
from expunge.runs.overrides import SHORT
from expunge.runs.registry import built_in, method_class

RECIPE_HEAD = """\
<!-- Written by docs/generate.py: change the docstrings in src/expunge/kinds/language/recipe.py and run it again. -->
# Recipe

A recipe is everything that decides what a run does. There are three ways to write one:

- a YAML file with these fields, for `expunge run`; `expunge recipes` lists those that come with it;
- options: every field below, by its dotted name, is an option of `expunge forget` and `expunge run`, and wins over the
  file (`--training.learning_rate 1e-5`); another method than the file's drops the file's hyper-parameters;
- keywords in Python: `expunge.forget("Harry Potter", out="runs/hp", **{"training.learning_rate": 1e-5})`.

A field that does not exist is refused, and the nearest name is shown. Paths are read from the folder in which the
command is typed; `!beside NAME` in a file is a path in that file's own folder. `expunge init` writes a file with
comments. A run writes its recipe, with every default filled in and every path made absolute, to `recipe.yaml`
in the [run folder](concepts.md#the-run-folder); that file can be run again, from any folder.

```yaml
model: smollm2-135m
forget: books/sherlock/
retain: books/other/
method:
  name: gradient_difference
  retain_weight: 2.0
training:
  num_train_epochs: 3
seed: 1
```
"""

SHORT_HEAD = """
## Shorter names

| option | stands for |
|---|---|
"""

METHODS_HEAD = """\
<!-- Written by docs/generate.py: change the docstrings in src/expunge/methods and run it again. -->
# Methods

Choose one with `--method NAME`, and set its hyper-parameters with `--method.FIELD VALUE`. `expunge methods` lists them,
those of other installed packages too; `expunge methods NAME` shows one. [Adding a method](adding_a_method.md) says how
to write one.

| method | language models | image classifiers | generators | trains on the forget set | trains on the retain set |
|---|---|---|---|---|---|
"""

METHODS_NOTES = """
In the formulas $F$ is the forget set and $R$ the retain set: of a language model their labelled tokens, of a classifier
their pictures; means are over those of one optimizer step, however many batches it is made of. Methods for both kinds
are one loss: learning rate, steps and the rest of the loop are the recipe's ([training](recipe.md#training) of language
models, [unlearning](image_recipe.md#unlearning) of classifiers). Methods for classifiers alone have phases, and their
learning rates and epochs are fields of their own. So have methods for [generators](generators.md).

Of a language model a small batch of the retain set is watched, whatever the method: training stops where its loss rises
by more than `training.max_retain_increase`.

## Losses for language models, side by side

| method | what falls on the forget set | fades by itself | what the original says | rows |
|---|---|---|---|---|
| `gradient_ascent`, `gradient_difference` | log p of each token | no; with a limit | | any |
| `wga` | the same, times p^beta | yes | | any |
| `satimp` | the same, times p^beta (1 - p)^beta2 | yes | | any |
| `ceu` | cross-entropy with its own distribution without the true token | yes | | any |
| `undial` | cross-entropy with the original's distribution, the true logit lowered | yes | distributions | any |
| `npo` | log p of each example against the original's | yes | likelihoods | any |
| `simnpo` | log p of each example, by length | yes | | any |
| `jensun` | Jensen-Shannon divergence from a fixed distribution | yes | distributions, of the retain set | any |
| `me_gd` | KL divergence from the uniform distribution | yes | | any |
| `pdu` | the largest logit less the mean one, squared; a limit holds the retain set | yes | | any |
| `dpo` | a wanted text against the example | yes | likelihoods | pairs |
| `altpo` | other answers that the original writes, against the answer | yes | likelihoods | questions and answers |
| `idk_dpo` | a refusal against the answer | yes | likelihoods | questions and answers |
| `flat` | mean probability of a refusal against the answer's | yes | | questions and answers |
| `idk_nll` | a refusal's likelihood; the answer is not looked at | yes | | questions and answers |
| `idk_ap` | the same; on the retain set the answer against a refusal | yes | | questions and answers, in both sets |

Of rows that do not fit nothing is trained on: of a set that holds text besides questions, the text is left out, and the
run's notices say so. Refusals are fifty sentences in `src/expunge/kinds/language/signals/refusals.txt`.
"""

IMAGE_RECIPE_HEAD = """\
<!-- Written by docs/generate.py: change the docstrings in src/expunge/kinds/classifier/recipe.py and run it again. -->
# Recipe of a classifier

Everything that decides what a run on an [image classifier](classifiers.md) does: a YAML file with `task:
image_classifier`, whose every field is an option of `expunge run` by its dotted name. What is said of the
[recipe of a language model](recipe.md) holds here too.
"""

GENERATOR_RECIPE_HEAD = """\
<!-- Written by docs/generate.py: change the docstrings in src/expunge/kinds/generator/recipe.py and run it again. -->
# Recipe of a generator

Everything that decides what a run on an [image-to-image generator](generators.md) does: a YAML file with `task:
image_to_image`, whose every field is an option of `expunge run` by its dotted name. What is said of the
[recipe of a language model](recipe.md) holds here too.
"""

RETAIN = {"never": "no", "always": "yes", "weighted": "where `retain_weight` is above 0", "wrapped": "as `of` does"}


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    return {
        "recipe.md": RECIPE_HEAD + fields_of(Recipe) + short_names(),
        "image_recipe.md": IMAGE_RECIPE_HEAD + fields_of(ImageRecipe),
        "generator_recipe.md": GENERATOR_RECIPE_HEAD + fields_of(GeneratorRecipe),
        "methods.md": methods_page(),
    }


def fields_of(kind: type[Part]) -> str:
    """A chapter for the fields at the top and one for each part."""
    schema = kind.model_json_schema()
    parts = {name: _referred(field, schema) for name, field in schema["properties"].items()}
    plain = {name: field for name, field in schema["properties"].items() if parts[name] is None}
    method = kind.model_fields["method"].get_default(call_default_factory=True)
    plain["method"] = {**plain["method"], "default": method}
    text = "\n## Top level\n\n" + _table(plain, schema.get("required", ()))
    for name, part in parts.items():
        if part is not None:
            fields = {f"{name}.{field}": content for field, content in part["properties"].items()}
            text += f"\n## {name}\n\n{part['description']}\n\n" + _table(fields)
    return text


def short_names() -> str:
    return SHORT_HEAD + "".join(f"| `--{name}` | `--{field}` |\n" for name, field in SHORT.items())


def methods_page() -> str:
    text, chapters = METHODS_HEAD, ""
    for name in built_in():
        kind = method_class(name)
        forget, retain = "yes" if kind.needs.forget else "no", RETAIN[kind.needs.retain]
        able = [
            "yes" if model in kind.needs.kinds else "" for model in ("causal_lm", "image_classifier", "image_to_image")
        ]
        text += f"| [{name}](#{name}) | {' | '.join(able)} | {forget} | {retain} |\n"
        chapters += f"\n## {name}\n\n{_fenced_formulas(inspect.getdoc(kind) or '')}\n"
        fields = kind.model_json_schema()["properties"]
        if fields:
            chapters += "\n" + _table({f"method.{field}": content for field, content in fields.items()})
    return text + METHODS_NOTES + chapters


def _fenced_formulas(docstring: str) -> str:
    """Formulas as fenced blocks, in which Markdown leaves backslashes and underscores alone."""
    return re.sub(
        r"\$\$(.+?)\$\$", lambda found: f"```math\n{inspect.cleandoc(found[1])}\n```", docstring, flags=re.DOTALL
    )


def _referred(field: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any] | None:
    reference = field.get("$ref")
    return None if reference is None else schema["$defs"][reference.rpartition("/")[2]]


def _table(fields: Mapping[str, Mapping[str, Any]], required: Iterable[str] = ()) -> str:
    rows = ["| field | type | default | what it is |", "|---|---|---|---|"]
    for name, field in fields.items():
        default = "required" if name in required else f"`{_default(field.get('default'))}`"
        description = " ".join(field.get("description", "").split()).replace("|", "\\|")
        rows.append(f"| `{name}` | {_type(field)} | {default} | {description} |")
    return "\n".join(rows) + "\n"


def _type(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"])
    if "enum" in field or "const" in field:
        return " or ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    names = {"string": "text", "object": "mapping", "boolean": "`true` or `false`", "null": "`null`"}
    kind = field.get("type", "mapping")
    bounds: list[str] = []
    if "minimum" in field:
        bounds.append(f"at least {field['minimum']}")
    elif "exclusiveMinimum" in field:
        bounds.append(f"above {field['exclusiveMinimum']}")
    if "maximum" in field:
        bounds.append(f"at most {field['maximum']}")
    return f"{names.get(kind, kind)} {' and '.join(bounds)}".strip()


def _default(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {content}" for name, content in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def main() -> None:
    for name, text in pages().items():
        (Path(__file__).parent / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
