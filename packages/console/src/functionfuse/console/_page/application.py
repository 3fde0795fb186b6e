"""What the local page answers to its addresses. None of them has a name of a user's in it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from functionfuse.backends import capsule
from functionfuse.errors import FunctionFuseError, StorageError, TaskNotFound
from functionfuse.run_diff import diff_of
from functionfuse.runs import list_runs, read_run
from functionfuse.stores import capsules_of

from .._report.page import page_of
from .._report.view import view_of
from .comparison import comparison_page
from .following import FollowedRun
from .listing import Filter, runs_page
from .streams import EventStream

if TYPE_CHECKING:
    from starlette.requests import Request

    from functionfuse.runs import RunRecord
    from functionfuse.stores import Catalogue

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_MOST_STREAMS = 64


class Application:
    """The runs of one store.

    Args:
        store: the store.

    Attributes:
        closing: set when the server ends, which ends event streams.
    """

    def __init__(self, store: Catalogue) -> None:
        self.closing = asyncio.Event()
        self._store = store
        self._followed: dict[str, FollowedRun] = {}
        self._streams = 0

    def routes(self) -> Starlette:
        """Return what answers requests."""
        return Starlette(
            routes=[
                Route("/", self.runs),
                Route("/compare", self.compare),
                Route("/runs/{id}", self.run),
                Route("/runs/{id}/events", self.events),
                Route("/runs/{id}/capsules/{number:int}", self.capsule),
            ],
            exception_handlers={TaskNotFound: _not_found, FunctionFuseError: _failed, OSError: _failed},
        )

    def runs(self, request: Request) -> Response:
        """Answer with a list of runs."""
        chosen = Filter.of(request.query_params)
        return _page(*runs_page(list(list_runs(self._store)), chosen))

    def run(self, request: Request) -> Response:
        """Answer with the page of a run, which is live while the run goes on."""
        run = read_run(self._store, request.path_params["id"])
        if request.path_params["id"] != run.id:
            return RedirectResponse(f"/runs/{run.id}", 303)
        live = f"/runs/{run.id}/events" if run.state == "running" else None
        return _page(*page_of(self._view_of(run), live, "/"))

    async def events(self, request: Request) -> Any:
        """Answer with changes of a run; with nothing, which event sources do not ask again for, if it has ended."""
        id = request.path_params["id"]
        followed = self._followed.get(id)
        if followed is None:
            run = await asyncio.to_thread(read_run, self._store, id)
            if run.state != "running":
                return Response(status_code=204)
            followed = self._followed.setdefault(id, FollowedRun(self._store, run.workflow, run.id, self._view_of))
        if self._streams >= _MOST_STREAMS:
            return PlainTextResponse("too many pages show a run that goes on\n", 503)
        return EventStream(self._counted(id, followed), self.closing)

    async def _counted(self, id: str, followed: FollowedRun) -> Any:
        self._streams += 1
        changes = followed.changes()
        try:
            async for change in changes:
                yield change
        finally:
            self._streams -= 1
            await changes.aclose()
            if not followed.has_viewers:
                self._followed.pop(id, None)

    def capsule(self, request: Request) -> Response:
        """Answer with the failure capsule of a node."""
        run = read_run(self._store, request.path_params["id"])
        names = list(run.steps)
        number = request.path_params["number"]
        if number >= len(names):
            raise TaskNotFound(f"run {run.id!r} has no node {number}")
        name = names[number]
        content = self._store.read_task(capsules_of(run.workflow), name)
        file = _UNSAFE.sub("_", name).strip("_")[:80] or "node"
        headers = {"Content-Disposition": f'attachment; filename="{file}.capsule"'}
        return Response(bytes(content), media_type="application/octet-stream", headers=headers)

    def compare(self, request: Request) -> Response:
        """Answer with the difference of two runs: the later one, and the one before it."""
        ids = request.query_params.getlist("run")
        if len(ids) != 2:
            return PlainTextResponse("choose two runs to compare\n", 400)
        a, b = sorted((read_run(self._store, id) for id in ids), key=lambda run: run.id)
        return _page(*comparison_page(a, b, diff_of(a, b)))

    def _view_of(self, run: RunRecord) -> dict[str, Any]:
        view = view_of(run, self._run_before(run))
        failed = {name: number for number, (name, step) in enumerate(run.steps.items()) if step.state == "failed"}
        if failed:
            kept = set(capsule.names(self._store, run.workflow))
            view["capsules"] = {
                str(number): f"/runs/{run.id}/capsules/{number}" for name, number in failed.items() if name in kept
            }
        return view

    def _run_before(self, run: RunRecord) -> RunRecord | None:
        """Return the run of the same workflow that a run is compared with: the last one that finished before it."""
        earlier = (one for one in list_runs(self._store, run.workflow) if one.id < run.id and one.state == "finished")
        found = next(earlier, None)
        try:
            return None if found is None else read_run(self._store, found.id, run.workflow)
        except StorageError:  # of a record that is damaged, or was removed meanwhile
            return None


def _page(html: str, policy: str) -> Response:
    return HTMLResponse(html, headers={"Content-Security-Policy": f"{policy}; frame-ancestors 'none'"})


def _not_found(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", 404)


def _failed(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{type(error).__name__}: {error}\n", 500)
