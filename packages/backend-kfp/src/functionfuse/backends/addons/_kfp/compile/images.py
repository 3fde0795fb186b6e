"""Images of pods, and the Secrets that they are pulled with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from functionfuse.errors import OptionError

from .pods import slug
from .registry_secret import checked_credentials, is_login, secret_manifest, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class ImageSettings:
    """The images of a workflow's pods, and the Secrets that they are pulled with.

    Args:
        workflow_name: name of the workflow, from which that of its own Secret is made.
        namespace: of Kubernetes, for its own Secret.
        pull_secrets: names of other Secrets.

    Raises:
        OptionError: `pull_secrets` is a string.
    """

    def __init__(self, workflow_name: str, namespace: str | None, pull_secrets: Sequence[str]) -> None:
        if isinstance(pull_secrets, str):
            raise OptionError(f"image_pull_secrets takes a list of names, got {pull_secrets!r}")
        self.baseimage = ""
        self._secret = f"{slug(workflow_name)}-registry"
        self._namespace = namespace
        self._pull_secrets = list(pull_secrets)
        self._credentials: dict[str, str] = {}

    def set_baseimage(self, image: str) -> None:
        """Set the image of pods that have no other.

        Raises:
            OptionError: not a non-empty string.
        """
        if not isinstance(image, str) or not image.strip():
            raise OptionError(f"an image is a string like 'python:3.11', got {image!r}")
        self.baseimage = image

    def set_credentials(self, credentials: Mapping[str, str] | None) -> None:
        """Set the credentials of a registry. Without username and password there is no Secret of the workflow's own.

        Raises:
            OptionError: they are no such mapping; the message shows no credential.
        """
        self._credentials = {} if credentials is None else checked_credentials(credentials)

    @property
    def pull_secrets(self) -> list[str]:
        """The names of all Secrets that images are pulled with."""
        return [*self._pull_secrets, *([self._secret] if is_login(self._credentials) else [])]

    def write_secret(self, path: Path) -> str:
        """Write the manifest of the workflow's own Secret, and return its name.

        Raises:
            OptionError: no username and password are set.
        """
        if not is_login(self._credentials):
            raise OptionError(
                "a Secret needs a username and a password, which registry_credentials do not have: "
                "set_registry_credentials({'username': ..., 'password': ...}) sets them"
            )
        manifest = secret_manifest(self._secret, self._namespace, self._credentials)
        write_private(path, json.dumps(manifest, indent=2))
        return self._secret
