"""`functionfuse completion`."""

from __future__ import annotations

import click

from ..completing import completion_of
from ..documents import write_document
from ..exit_codes import DONE
from ..stores import json_option
from ..streams import write


@click.command("completion")
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def _completion(shell: str, as_json: bool) -> int:
    """Write the completion of a SHELL (bash, zsh, fish): of verbs, options, targets and runs.

    For bash: put  eval "$(functionfuse completion bash)"  into ~/.bashrc.
    """
    script = completion_of(shell, click.get_current_context().find_root().command)
    if as_json:
        write_document("completion", {"shell": shell, "script": script})
    else:
        write(script)
    return DONE


command = _completion
