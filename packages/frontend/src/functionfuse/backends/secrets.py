"""References to secrets, which are resolved where a call runs and are no part of plans, pickles and logs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

from functionfuse.errors import OptionError

SecretSource: TypeAlias = Literal["env", "file", "k8s"]
"""An environment variable, a file, or a key of a Secret of Kubernetes (``secret/key``)."""


class Secret(NamedTuple):
    """A value that is kept elsewhere.

    Attributes:
        source: where it is kept.
        name: of the variable, the file, or the key.
    """

    source: SecretSource
    name: str

    def resolve(self) -> str:
        """Return the value, as it is in this process and on this machine.

        Raises:
            OptionError: it is not there.
        """
        try:
            if self.source == "env":
                return os.environ[self.name]
            return Path(self.name).read_text(encoding="utf-8").strip()
        except (KeyError, OSError, UnicodeDecodeError) as error:
            raise OptionError(f"the secret {self} is not there, where the node runs: {error!r}") from None

    def __str__(self) -> str:
        return f"{self.source}:{self.name}"


def reference_in(text: str) -> str | Secret:
    """Return the reference that a text is, or the text."""
    source, separator, name = text.partition(":")
    if separator and source in get_args(SecretSource) and name:
        return Secret(source, name)  # type: ignore[arg-type]
    return text


def checked_environment(variables: object) -> dict[str, str | Secret]:
    """Return environment variables.

    Raises:
        OptionError: a name or a value is none.
    """
    if not isinstance(variables, Mapping):
        raise OptionError(f"environment variables are texts by name, got {variables!r}")
    for name, value in variables.items():
        if not isinstance(name, str) or not name or {"=", "\0"} & set(name):
            raise OptionError(f"the name of an environment variable is a text without '=', got {name!r}")
        if not isinstance(value, str | Secret) or (isinstance(value, str) and "\0" in value):
            raise OptionError(f"the value of the environment variable {name} is a text, got {value!r}")
    return dict(variables)


def resolved(environment: Mapping[str, str | Secret]) -> dict[str, str]:
    """Return environment variables with the values of secrets, but for those that Kubernetes sets itself.

    Raises:
        OptionError: a secret is not there.
    """
    return {
        name: value.resolve() if isinstance(value, Secret) else value
        for name, value in environment.items()
        if not (isinstance(value, Secret) and value.source == "k8s")
    }


def without_secrets(environment: Mapping[str, str | Secret]) -> dict[str, str]:
    """Return the environment variables that are no secrets."""
    return {name: value for name, value in environment.items() if not isinstance(value, Secret)}
