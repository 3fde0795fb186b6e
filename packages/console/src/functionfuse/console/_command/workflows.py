"""What the verbs have in common that take a target: its options, and the workflow that is made of it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from .exit_codes import USAGE, Failure
from .parameters import arguments_of, flag_of, options_of
from .stores import json_option
from .targets import Target, load_target, names_in_source, nodes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from functionfuse.backends.base import BaseWorkflow

_TARGET = "functionfuse.target"
_TEXT = "functionfuse.text"
_PARAMETERS = "functionfuse.parameters"


class TargetCommand(click.Command):
    """A verb whose options are its own, and the parameters of the function that its target names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Import the target, and parse all options.

        Args:
            ctx: of the verb.
            args: the arguments.
        """
        text = self._target_in(ctx, args)
        taken = [option for one in super().get_params(ctx) for option in (*one.opts, *one.secondary_opts)]
        if text and ctx.resilient_parsing:
            ctx.meta[_PARAMETERS] = _options_in_source(text, taken)
        elif text:
            ctx.meta[_TEXT] = text
            target = ctx.meta[_TARGET] = load_target(text)
            ctx.meta[_PARAMETERS] = options_of(target.value, taken) if target.is_function else []
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options, with those of the target once it is imported."""
        return [*super().get_params(ctx), *ctx.meta.get(_PARAMETERS, ())]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of the target in a section of their own.

        Args:
            ctx: of the verb.
            formatter: takes the text.
        """
        for title, parameters in (
            ("Options", super().get_params(ctx)),
            (f"Parameters of {ctx.meta.get(_TEXT)}", ctx.meta.get(_PARAMETERS, ())),
        ):
            rows = [row for one in parameters if (row := one.get_help_record(ctx)) and isinstance(one, click.Option)]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def _target_in(self, ctx: click.Context, args: list[str]) -> str | None:
        parser = self.make_parser(ctx)
        parser.allow_interspersed_args = False
        try:
            found = parser.parse_args(list(args))[0].get("target")
        except click.NoSuchOption as error:
            if not ctx.resilient_parsing and any(":" in one for one in args):
                raise click.UsageError(
                    f"no option {error.option_name!r} of this verb; parameters of a target stand behind it", ctx
                ) from None
            raise
        return found if isinstance(found, str) else None


class Options(NamedTuple):
    """What the options of a verb say of the workflow.

    Attributes:
        backend: its name.
        storage: the location of a store.
        profile: the path of a profile.
        env: the environment whose part of the profile holds besides.
        needs: the path of a file of needs.
        name: of the workflow.
        scope: "graph" or "ancestors".
        workers: how many.
        executor: which.
    """

    backend: str | None
    storage: str | None
    profile: str | None
    env: str | None
    needs: str | None
    name: str | None
    scope: str
    workers: int | None
    executor: str | None


class Prepared(NamedTuple):
    """A workflow that is ready to be planned and run.

    Attributes:
        workflow: the workflow.
        backend: the name of its backend.
        wanted: the names of the nodes that it was given, or of the sweeps by the first of their nodes.
        run_options: arguments of its `run` that the backend takes.
        has_store: whether results are kept.
    """

    workflow: BaseWorkflow[Any]
    backend: str
    wanted: list[str]
    run_options: dict[str, Any]
    has_store: bool


def target_command(**settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a verb that takes a target, with the options that are about its workflow.

    Args:
        settings: of the command.
    """

    def decorate(callback: Callable[..., Any]) -> click.Command:
        for add in (json_option, *reversed(_OPTIONS)):
            callback = add(callback)
        return click.command(cls=TargetCommand, **settings)(callback)

    return decorate


@contextmanager
def prepared(values: dict[str, Any]) -> Iterator[Prepared]:
    """Make a workflow of the target and the options of the verb that runs, and close what it opened at the end.

    Args:
        values: of all options of the verb that this module adds.

    Raises:
        Failure: an option cannot be used with this backend, or the target makes no graph.
    """
    from .engines import backend_class, executor, takes
    from .settings import settings_of

    context = click.get_current_context()
    target: Target = context.meta[_TARGET]
    nodes = nodes_of(target, arguments_of(context, values))
    options = Options(**{name: values.pop(name) for name in Options._fields})
    settings = settings_of(target.folder)
    name = options.backend or settings.backend or "local"
    chosen = backend_class(name)
    arguments: dict[str, Any] = {"workflow_name": options.name or target.name, "scope": options.scope}
    run_options: dict[str, Any] = {}
    with ExitStack() as opened:
        if options.executor is not None:
            if not takes(chosen.__init__, "executor"):
                raise Failure(USAGE, f"backend {name!r} takes no --executor; 'local' does")
            arguments["executor"] = opened.enter_context(executor(options.executor, options.workers))
        elif options.workers is not None:
            if not takes(chosen.run, "max_workers"):
                raise Failure(USAGE, f"backend {name!r} takes no --workers: its engine says how many there are")
            run_options["max_workers"] = options.workers
        workflow: BaseWorkflow[Any] = chosen(*nodes, **arguments)
        opened.callback(getattr(workflow, "close", lambda: None))
        storage = options.storage or settings.storage
        workflow.set_storage(storage)
        profile = options.profile or settings.profile
        if profile is not None:
            workflow.apply_profile(profile, env=options.env, needs=options.needs)
        elif options.env is not None or options.needs is not None:
            raise Failure(USAGE, "--env and --needs go with a profile: --profile FILE")
        wanted = [_name_of(one, workflow) for one in nodes]
        yield Prepared(workflow, name, wanted, run_options, has_store=storage is not None)


def _name_of(node: Any, workflow: BaseWorkflow[Any]) -> str:
    from functionfuse.nodes import Item
    from functionfuse.sweeps import Sweep

    if isinstance(node, Sweep):
        first = next(iter(node.values()), None)
        return "" if first is None else workflow.dag.name_of(first).partition("[")[0]
    if isinstance(node, Item):
        return workflow.dag.name_of(node._node) + "".join(f"[{key!r}]" for key in node._path)
    return workflow.dag.name_of(node)


# -- what shells complete


def _complete_target(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
    """Return the targets that begin with a text, for shells: files, and what stands in one; nothing is imported."""
    from click.shell_completion import CompletionItem

    place, colon, name = incomplete.rpartition(":")
    if colon:
        names = names_in_source(Path(place)) if place.endswith(".py") else {}
        return [CompletionItem(f"{place}:{known}") for known in names if known.startswith(name)]
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    before = "" if str(folder) == "." else f"{folder}/"
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    found = [
        f"{before}{path.name}{'/' if path.is_dir() else ':'}" for path in paths if path.is_dir() or path.suffix == ".py"
    ]
    return [CompletionItem(one) for one in sorted(found) if one.startswith(incomplete)]


def _complete_backend(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from .engines import backends

    return [name for name in backends() if name.startswith(incomplete)]


def _options_in_source(text: str, taken: list[str]) -> list[click.Option]:
    place, _, name = text.rpartition(":")
    parameters = names_in_source(Path(place)).get(name, []) if place.endswith(".py") else []
    return [click.Option([flag_of(one, taken), f"parameter_{one}"]) for one in parameters]


_OPTIONS = (
    click.argument("target", metavar="TARGET", shell_complete=_complete_target),
    click.option(
        "--backend",
        metavar="NAME",
        shell_complete=_complete_backend,
        help="The engine: local, ray, durable, prefect, kfp ... [default: that of pyproject.toml, or local]",
    ),
    click.option(
        "--storage",
        metavar="URL",
        help="Where results are kept: a folder, file:FOLDER, s3://BUCKET/PREFIX ... [default: that of pyproject.toml]",
    ),
    click.option(
        "--profile",
        metavar="FILE",
        type=click.Path(),
        help="What nodes are granted, and options of nodes. [default: that of pyproject.toml]",
    ),
    click.option("--env", metavar="NAME", help="Environment of the profile."),
    click.option("--needs", metavar="FILE", type=click.Path(), help="What nodes need, beside a profile."),
    click.option("--name", metavar="TEXT", help="Name of the workflow. [default: the name of the target]"),
    click.option(
        "--scope",
        type=click.Choice(["graph", "ancestors"]),
        default="graph",
        help="The whole graph, or only what the target needs. [default: graph]",
    ),
    click.option(
        "--workers", metavar="N", type=click.IntRange(1), help="Number of processes of this machine, of 'local'."
    ),
    click.option(
        "--executor",
        metavar="NAME",
        help="Of 'local': threads, processes, or module:name of what makes an executor.",
    ),
)
