"""Uploading an unlearned model to a hub: the files that `from_pretrained` reads and the model card, and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from expunge.core import storage
from expunge.errors import ExpungeError, RunError, first_line
from expunge.models.digest import INDEX, digest_saved, is_assisted
from expunge.runs.folder import RunFolder
from expunge.runs.format import read_record

NAMES = re.compile(
    r"(model|adapter_model|diffusion_pytorch_model)(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|"
    r"(config|generation_config|adapter_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|"
    r"preprocessor_config|processor_config)\.json|(merges|vocab)\.txt|[\w.-]+\.model|chat_template\.jinja|README\.md"
)
"files of a model; weights, settings, tokenizer and card"
REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is uploaded: files with their sizes in bytes, by name; and the names of files of the model's folder that stay."""

    folder: Path
    files: dict[str, int]
    left: tuple[str, ...]


def plan_publishing(folder: RunFolder, repo: str) -> Parcel:
    """What of a run would be uploaded, after the model was found to be the one of the record; nothing is sent.

    Data never goes: no texts, pictures, answers, scores of examples, recipe or report.

    Raises:
        RunError: the run is not finished, its model was changed since, or it is one that lists its training data.
    """
    if REPO.fullmatch(repo) is None:
        raise RunError(f"{repo!r} is not a repository", allowed="OWNER/NAME, as the hub has it")
    record = read_record(folder.record)
    if record is None or not folder.model.is_dir():
        raise RunError(f"{folder.path} is not finished", next_step="run the command that started it again, to the end")
    if (folder.model / INDEX).is_file():
        raise RunError(
            f"{folder.model} is a model in shards: {INDEX} in it says which examples each was trained on",
            next_step="keep it to yourself, or copy out the files that may be seen",
        )
    if is_assisted(folder.model):
        raise RunError(
            f"{folder.model} keeps something beside its base, and its base still holds what was forgotten",
            next_step="keep it to yourself, and let others ask it; or forget with a method that leaves a plain model: npo",
        )
    if digest_saved(folder.model) != (record.get("digests") or {}).get("model"):
        raise RunError(
            f"{folder.model} is not the model of {folder.record}",
            next_step=f"see what differs: expunge verify {folder.path}",
        )
    inside = {path.relative_to(folder.model).as_posix(): path for path in sorted(folder.model.rglob("*"))}
    files = {name: path for name, path in inside.items() if path.is_file() and not path.is_symlink()}
    goes = {name: path.stat().st_size for name, path in files.items() if NAMES.fullmatch(name)}
    return Parcel(folder.model, goes, tuple(name for name in files if name not in goes))


def publish(parcel: Parcel, repo: str, private: bool) -> str:
    """Upload it as one commit, to a repository that is made if there is none; the address of the commit.

    The hub and the token are those of huggingface_hub (`HF_ENDPOINT`, `hf auth login`).

    Args:
        private: refuse a repository that everybody sees.

    Raises:
        ExpungeError: the hub did not take it, or could not be reached; or the repository is not private, but should be.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import (
        HTTPError,  # of its HTTP client, httpx or httpx2
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    with storage.reading(parcel.folder):
        operations = [CommitOperationAdd(name, parcel.folder / name) for name in parcel.files]
    try:
        api = HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        # One that already exists stays as it is, and an organization may make all of its own public.
        if private and not api.repo_info(repo).private:
            raise ExpungeError(
                f"{repo} is there for everybody to see: nothing was sent",
                next_step="make it private on the hub, name another, or type it again with --public",
            )
        commit = api.create_commit(repo, operations, commit_message="Upload a model that Expunge made forget")
    except (HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise ExpungeError(
            f"the hub did not take {repo}",
            seen=first_line(error),
            next_step="see that you are logged in (hf auth login) and may write there, and type it again",
        ) from error
    return str(commit.commit_url)
