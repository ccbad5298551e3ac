"""`expunge suite wmdp`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed
from expunge.suites.tofu.command import Command, carry_out
from expunge.suites.tofu.options import OF_RMU, OfRmu, Teaching


def wmdp(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    data: str,
    corpora: str | None = None,
    mmlu: str | None = None,
    domains: str | None = None,
    texts: int = 1000,
    models: Annotated[OfRmu, Parameter(name="*")] = OF_RMU,
    printed: Printed = WORDS,
) -> int:
    """WMDP: let methods forget hazardous knowledge that a model has, and ask multiple-choice questions on it.

    For example:

        expunge suite wmdp --data FOLDER --model FOLDER --domains cyber --methods rmu,adaptive_rmu,npo --out runs/wmdp

        expunge suite wmdp --data cais/wmdp --corpora cais/wmdp-corpora --mmlu cais/mmlu --domains cyber

    Nothing is taught: the model must know before. There is no oracle. Otherwise it is run as `expunge suite tofu` is.

    Parameters
    ----------
    data:
        A folder with the questions (wmdp-bio/test and so on; Parquet, JSON lines, JSON), or a Hugging Face dataset id
        (cais/wmdp).
    corpora:
        A folder or id with the texts to forget and to keep (cyber-forget-corpus, cyber-retain-corpus); if not given, data.
    mmlu:
        A folder or id with MMLU (all/test), of what is to be kept; if not given, the part mmlu of data, if there is one.
    domains:
        What is to be forgotten: bio, cyber, or both with a comma between; if not given, all that there are texts of.
    texts:
        Use this many texts of each corpus, the first ones.
    """
    from expunge.suites.wmdp.reading import read_wmdp

    wanted = None if domains is None else [name.strip() for name in domains.split(",") if name.strip()]
    sets = read_wmdp(data, corpora, mmlu, wanted, texts)
    command = Command(name="wmdp", data=data, models=models, teaching=Teaching(rows=models.rows),
                      options=options, printed=printed)  # fmt: skip
    return carry_out(command, sets, {"corpora": corpora, "mmlu": mmlu, "domains": domains, "texts": texts})
