"""Completion in shells. In bash, a target takes three words, as the colon in it parts words there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from click.shell_completion import BashComplete, add_completion_class, get_completion_class, split_arg_string

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

VARIABLE = "_FUNCTIONFUSE_COMPLETE"
"""The environment variable that tells the command to complete, and for which shell."""

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' line
    COMPREPLY=()
    for line in $(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" %(complete_var)s=bash_complete "$1"); do
        case "$line" in
            file,*) compopt -o default ;;
            dir,*) compopt -o dirnames ;;
            *) COMPREPLY+=("${line#*,}") ;;
        esac
    done
    if [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[:/] ]]; then compopt -o nospace; fi
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class ColonBashComplete(BashComplete):
    """The completion of bash."""

    source_template = _BASH
    _replaced = ""  # of the word at the cursor, what bash keeps: all up to the last colon

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the one at it, with the colons in them."""
        given = os.environ["COMP_WORDS"].split("\n")
        words: list[str] = []
        joins = False
        for word in given[1 : int(os.environ["COMP_CWORD"]) + 1]:
            if words and (joins or set(word) == {":"}):
                words[-1] += word
            else:
                words.append(word)
            joins = word.endswith(":") and set(word) == {":"}
        *before, incomplete = words or [""]
        self._replaced = incomplete[: incomplete.rfind(":") + 1]
        return [one for word in before for one in split_arg_string(word)], incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return a line for the function in bash.

        Args:
            item: what the word may be.
        """
        return f"{item.type},{item.value.removeprefix(self._replaced)}"


add_completion_class(ColonBashComplete)


def completion_of(shell: str, command: click.Command) -> str:
    """Return the script that makes a shell complete the command.

    Args:
        shell: "bash", "zsh" or "fish".
        command: the command.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    return kind(command, {}, "functionfuse", VARIABLE).source()
