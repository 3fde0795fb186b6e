"""The manifest of a Secret with the credentials of an image registry."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path

_KEYS = {"username", "password", "server", "email"}
_DOCKER_HUB = "https://index.docker.io/v1/"


def checked_credentials(credentials: object) -> dict[str, str]:
    """Return credentials of a registry.

    Raises:
        OptionError: they are no such mapping; the message shows no credential.
    """
    if not isinstance(credentials, Mapping) or not credentials.keys() <= _KEYS:
        raise OptionError("registry_credentials is a mapping with 'username', 'password', and maybe 'server', 'email'")
    if not all(isinstance(value, str) and value for value in credentials.values()):
        raise OptionError("registry_credentials: every value is a non-empty string")
    return dict(credentials)


def is_login(credentials: Mapping[str, str]) -> bool:
    """Return True if a registry can be logged in to with credentials."""
    return credentials.keys() >= {"username", "password"}


def secret_manifest(name: str, namespace: str | None, credentials: Mapping[str, str]) -> dict[str, Any]:
    """Return the manifest of a `docker-registry` Secret.

    Args:
        name: of the Secret.
        namespace: of Kubernetes; None for the one that `kubectl` uses.
        credentials: what `checked_credentials` returned, with "username" and "password".
    """
    login = f"{credentials['username']}:{credentials['password']}"
    entry = {key: credentials[key] for key in ("username", "password", "email") if key in credentials}
    entry["auth"] = base64.b64encode(login.encode()).decode()
    config = json.dumps({"auths": {credentials.get("server", _DOCKER_HUB): entry}})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
        "data": {".dockerconfigjson": base64.b64encode(config.encode()).decode()},
    }


def write_private(path: Path, text: str) -> None:
    """Write a file that no other user can read; Windows applies the folder's permissions instead.

    Args:
        path: path of the file; it is replaced if it exists.
        text: the content.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
