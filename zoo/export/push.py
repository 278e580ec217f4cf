"""Files to a model repository of the hub. The token is huggingface_hub's own, read from where its client keeps it."""

from __future__ import annotations

from collections.abc import Mapping

from zoo.errors import MachineError, Option, ResultError


def check_repo(repo_id: str) -> None:
    """Raises :class:`ResultError` for what can be no name of a repository."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HFValidationError

    try:
        hf_hub_url(repo_id, "README.md")  # checks the name; nothing is sent
    except HFValidationError as problem:
        raise ResultError(f"REPO_ID {repo_id!r}: {problem}; write it as NAMESPACE/NAME") from problem
    if repo_id.count("/") != 1:
        raise ResultError(f"REPO_ID {repo_id!r}: has no namespace; write it as NAMESPACE/NAME, such as me/{repo_id}")


def find_token() -> str:
    """The user's token. Raises :class:`MachineError` where there is none."""
    from huggingface_hub import get_token

    token = get_token()
    if token is None:
        raise MachineError(
            "no token of the hub is stored here: log in with `hf auth login`, or set HF_TOKEN; ", Option("dry_run"),
            " and ", Option("to_folder"), " need none",
        )  # fmt: skip
    return token


def upload(files: Mapping[str, bytes], repo_id: str, token: str, private: bool, words: str) -> str:
    """Put `files` into the model repository `repo_id`, made where it does not exist, in one commit; its address.

    Raises :class:`MachineError`, in one line, for any error of the hub or of the network.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    api = HfApi(token=token)
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    try:
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        commit = api.create_commit(repo_id, operations, commit_message=f"zoo push: {words}")
    except Exception as problem:  # of the hub's client, which changes its classes, and of its HTTP library
        line = " ".join(str(problem).split()) or type(problem).__name__
        raise MachineError(f"{repo_id}: the upload failed: {line[:300]}; nothing of it was committed") from problem
    return commit.commit_url
