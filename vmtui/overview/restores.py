"""Plans of several restores, made in this process: nothing is written, so no job is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from vmtui.model.errors import UnreachableError
from vmtui.model.ids import JobId, new_id
from vmtui.model.progress import Watch
from vmtui.model.settings import Settings

if TYPE_CHECKING:
    from vmtui.hosts import HostSession
    from vmtui.repository import Repository
    from vmtui.restore import RestoreContext, RestoreRequest
    from vmtui.restore.group import GroupPlan, GroupRequest


@contextmanager
def worlds(
    settings: Settings, repository: Repository, host: str, watch: Watch, now: Callable[[], datetime]
) -> Iterator[Callable[[RestoreRequest], RestoreContext]]:
    """The worlds of restores to one host, with one login for each host that is asked; they end with it.

    Raises:
        UnreachableError: The target does not answer.
    """
    from vmtui.hosts import connect
    from vmtui.restore import RestoreContext

    with ExitStack() as logins:
        target = logins.enter_context(connect(settings, host))
        sessions: dict[str, HostSession | None] = {host: target}

        def reachable(name: str) -> HostSession | None:
            if name not in sessions:
                try:
                    known = name in settings.hosts
                    sessions[name] = logins.enter_context(connect(settings, name)) if known else None
                except UnreachableError:
                    sessions[name] = None
            return sessions[name]

        def world(request: RestoreRequest) -> RestoreContext:
            def origin() -> HostSession | None:
                return reachable(context.point(request).host)

            context = RestoreContext(lambda: target, origin, repository, settings.state, watch, now)
            return context

        yield world


def plan_group(
    settings: Settings, repository: Repository, request: GroupRequest, watch: Watch, now: Callable[[], datetime]
) -> GroupPlan:
    """Check and plan several restores.

    Raises:
        DamageError: A point is missing something or damaged.
        UnreachableError: Host or repository do not answer.
    """
    from vmtui.restore.group import prepare

    with worlds(settings, repository, request.members[0].host, watch, now) as world:
        return prepare(request, world, lambda: JobId(new_id(now())))
