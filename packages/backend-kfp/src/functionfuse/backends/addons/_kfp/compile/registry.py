"""Credentials of an image registry, as a manifest of the Secret that Kubernetes takes them from."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path

_KNOWN = {"username", "password", "server", "email"}
_DOCKER_HUB = "https://index.docker.io/v1/"


def checked_credentials(credentials: object) -> dict[str, str]:
    """Return credentials of a registry, or raise OptionError, which shows none of them."""
    if not isinstance(credentials, Mapping) or not _KNOWN >= credentials.keys() >= {"username", "password"}:
        raise OptionError("registry_credentials is a mapping with 'username', 'password', and maybe 'server', 'email'")
    if not all(isinstance(value, str) and value for value in credentials.values()):
        raise OptionError("registry_credentials: every value is a text that is not empty")
    return dict(credentials)


def secret_manifest(name: str, namespace: str | None, credentials: Mapping[str, str]) -> dict[str, Any]:
    """Return a ``docker-registry`` Secret, as JSON that ``kubectl apply`` takes."""
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
    """Write a file that nobody else can read."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
