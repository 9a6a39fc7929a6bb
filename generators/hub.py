"""Checkpoints of the Hugging Face hub: fetched only when that is asked for, and only what is loaded."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from auditkit.errors import GeneratorError
from generators.checkpoint import read_index
from generators.families import FAMILIES
from generators.weights import choose_weights

PREFIX = "hf:"
_SMALL = ["*.json", "*.txt", "*.model", "*.toml"]
"""Configurations and vocabularies."""


def fetch(name: str, *, allow_network: bool = False) -> Path:
    """The local folder of `hf:OWNER/MODEL`, in the hub's own cache.

    The pipeline class is looked at before the weights are fetched. Nothing pickled is fetched, no code, and of the
    weights one variant.

    Args:
        allow_network: without it only what is in the cache is used.

    Raises:
        GeneratorError: no such name, a checkpoint that cannot be used, or one that is not here and cannot be fetched.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository = name.removeprefix(PREFIX)
    try:
        if not allow_network:
            return Path(snapshot_download(repository, local_files_only=True))
        folder = Path(snapshot_download(repository, allow_patterns=_SMALL))
        _, components = read_index(folder, FAMILIES)
        revision = folder.name  # the commit, so that nothing changes between the calls
        try:
            there = HfApi().list_repo_files(repository, revision=revision)
        except (HfHubHTTPError, OSError):
            raise
        except Exception:  # the client's own errors of transport: what is here already may be all that is needed
            return Path(snapshot_download(repository, local_files_only=True))
        wanted = [file for files in choose_weights(there, components).files.values() for file in files]
        wanted += [file for file in there if any(fnmatch.fnmatch(file, pattern) for pattern in _SMALL)]
        return Path(snapshot_download(repository, revision=revision, allow_patterns=wanted))
    except HFValidationError:
        raise GeneratorError("that is not a hub name", where=name, mend="write hf:OWNER/MODEL") from None
    except LocalEntryNotFoundError:
        if allow_network:
            what, mend = "the hub cannot be reached", f"check the network, or fetch it with 'hf download {repository}'"
        else:
            what = "the checkpoint is not on this machine"
            mend = "allow its download: --allow-network, in Python allow_network=True"
        raise GeneratorError(what, where=name, mend=mend) from None
    except (HfHubHTTPError, OSError) as error:
        line = str(error).strip().split("\n")[0]
        raise GeneratorError(
            f"the hub does not give out the checkpoint: {line}",
            where=name,
            mend="check the name, or sign in to the hub",
        ) from None
