"""The command `functionfuse`: its verbs, its help, and how errors end it."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click

from functionfuse.errors import FunctionFuseError

from .exit_codes import DONE, INTERRUPTED, Failure, failure_of
from .extensions import Extension, extensions

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = {
    "Run a graph": {
        "run": "Run a graph.",
        "plan": "Show what a run would do, and why.",
        "graph": "Draw a graph.",
    },
    "Look at runs": {
        "runs": "List runs.",
        "show": "Show a run, or one of its nodes.",
        "watch": "Follow a run that another process makes.",
        "logs": "Show what nodes printed.",
        "diff": "Compare two runs.",
        "debug": "Make the call of a node again that failed.",
        "report": "Write the report of a run.",
        "ui": "Show runs in a browser, live.",
    },
    "Look after results": {
        "results": "List, read, remove and verify results.",
        "gc": "Remove results that no name and no recent run has.",
    },
    "Set up": {
        "doctor": "Check what is installed, a profile, and a store.",
        "completion": "Write the completion of a shell.",
    },
}
"""By section of the help: the verbs, each with a line of help. A verb is the `command` of the module of its name."""

_EPILOG = """
Examples:

\b
  functionfuse run comparison.py:comparison --storage results
  functionfuse plan comparison.py:comparison --storage results
  functionfuse report latest --storage results --open

Exit codes: 0 done, 1 failed or differs, 2 wrong usage, 3 refused before it started, 4 storage, 5 time out,
130 interrupted.
"""


class CommandLine(click.Group):
    """The command. Its verbs are imported when they are used."""

    def __init__(self) -> None:
        super().__init__(
            "functionfuse",
            help="Run graphs of Function Fuse, and look at runs and results.",
            epilog=_EPILOG,
            params=[_version_option()],
            no_args_is_help=True,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        )

    def main(  # type: ignore[override]  # it has the one mode
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **extra: Any,  # noqa: ARG002
    ) -> NoReturn:
        """Run a command, and exit with its code.

        Args:
            args: after the name of the program; those of this process by default.
            prog_name: the name of the program.
            extra: without effect.
        """
        given = sys.argv[1:] if args is None else list(args)
        if "_FUNCTIONFUSE_COMPLETE" in os.environ:
            from . import completing  # noqa: F401  how bash does it
        try:
            code = super().main(given, prog_name or "functionfuse", standalone_mode=False)
        except click.Abort:  # Ctrl-C before a verb began
            code = INTERRUPTED
        except click.ClickException as error:
            code = error.exit_code
            _report(error, as_json="--json" in given)
        sys.exit(code or DONE)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; what it raises on purpose becomes what ends the command.

        Args:
            ctx: of the command.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return DONE
        except KeyboardInterrupt as error:
            notes = getattr(error, "__notes__", ["interrupted"])
            failure = Failure(INTERRUPTED, "; ".join(notes), "KeyboardInterrupt")
        except FunctionFuseError as error:
            failure = failure_of(error)
        except Failure as error:
            failure = error
        failure.command = f"{ctx.command_path} {ctx.invoked_subcommand}"
        raise failure

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all verbs."""
        return [*(name for verbs in VERBS.values() for name in verbs), *extensions()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a verb; None if there is none of this name.

        Args:
            ctx: of the command.
            cmd_name: the name of the verb.
        """
        if any(cmd_name in verbs for verbs in VERBS.values()):
            verb: click.Command = import_module(f".verbs.{cmd_name}", __package__).command
            return verb
        found = extensions()
        return _extension_command(cmd_name, found[cmd_name]) if cmd_name in found else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return a verb with its name and arguments.

        Args:
            ctx: of the command.
            args: what was given, beginning with the verb.
        """
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            from functionfuse._suggestions import did_you_mean  # which imports difflib

            hint = did_you_mean(name, self.list_commands(ctx)) or "; functionfuse --help lists them"
            raise click.UsageError(f"no verb is named {name!r}{hint}", ctx)
        return (name if command else None), command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the verbs by their sections, without importing them.

        Args:
            ctx: of the command.
            formatter: takes the text.
        """
        added = {name: f"Of {one.distribution}." for name, one in extensions().items()}
        sections = {**VERBS, "Of other packages": added}
        width = max(len(name) for verbs in sections.values() for name in verbs)
        for title, verbs in sections.items():
            if verbs:
                with formatter.section(title):
                    formatter.write_dl([(f"{name:{width}}", said) for name, said in verbs.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Return the verbs and options that begin with a text, without importing verbs.

        Args:
            ctx: of the command.
            incomplete: the text.
        """
        from click.shell_completion import CompletionItem

        said = {name: text for verbs in VERBS.values() for name, text in verbs.items()}
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [
            *(CompletionItem(name, help=said.get(name)) for name in names),
            *click.Command.shell_complete(self, ctx, incomplete),
        ]


def _version_option() -> click.Option:
    def show(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value and not context.resilient_parsing:
            from importlib.metadata import version

            click.echo(
                f"functionfuse-console {version('functionfuse-console')}, functionfuse {version('functionfuse')}"
            )
            context.exit()

    return click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version and exit."
    )


def _extension_command(name: str, extension: Extension) -> click.Command:
    """Return a verb of another distribution, which parses its own arguments."""

    def run(arguments: tuple[str, ...]) -> int:
        return extension.load()(list(arguments), f"functionfuse {name}")

    return click.Command(
        name,
        callback=run,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )


def _report(error: click.ClickException, *, as_json: bool) -> None:
    """Say what went wrong, in words to standard error, and as a document to standard output."""
    context = getattr(error, "ctx", None)
    path = getattr(error, "command", "functionfuse") if context is None else context.command_path
    message = error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(message, err=True)
    elif isinstance(error, click.UsageError):
        usage = "" if context is None else f"{context.get_usage()}\n"
        click.echo(f"{usage}{path}: {message}\n'{path} --help' says more", err=True)
    else:
        click.echo(f"{path}: {message}", err=True)
    if as_json:
        from .documents import write_document  # which few commands need

        kind = getattr(error, "kind", "UsageError")
        said = {"kind": kind, "message": message, "exit_code": error.exit_code}
        write_document("error", {"error": said})
