"""What the wizard asks hosts and repository; blocks, so it runs on a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from vmtui.hosts import HostSession, connect
from vmtui.jobs.world import utc_now
from vmtui.model.errors import UnreachableError
from vmtui.model.ids import JobId, new_id
from vmtui.model.progress import SilentWatch
from vmtui.model.settings import Settings
from vmtui.opening import open_repository
from vmtui.overview.restores import plan_group, worlds
from vmtui.restore import RestoreContext, RestorePlan, RestoreRequest
from vmtui.restore.group import GroupPlan, GroupRequest
from vmtui.restore.offers import Offers, offers
from vmtui.restore.prepare import prepare


@contextmanager
def _context(settings: Settings, request: RestoreRequest) -> Iterator[RestoreContext]:
    """The engine's world for one question, with logins that end with it."""
    repository = open_repository(settings)
    repository.sync()
    with ExitStack() as logins:
        session = logins.enter_context(connect(settings, request.host))
        kept: list[HostSession | None] = []

        def origin() -> HostSession | None:
            if not kept:
                kept.append(_reachable(settings, context.point(request).host, logins))
            return kept[0]

        context = RestoreContext(lambda: session, origin, repository, settings.state, SilentWatch(), utc_now)
        yield context


def _reachable(settings: Settings, host: str, logins: ExitStack) -> HostSession | None:
    if host not in settings.hosts:
        return None
    try:
        return logins.enter_context(connect(settings, host))
    except UnreachableError:
        return None


def ask_offers(settings: Settings, request: RestoreRequest) -> Offers:
    """What has to be mapped, and to what it can be."""
    with _context(settings, request) as context:
        return offers(context, request)


def ask_plan(settings: Settings, request: RestoreRequest) -> RestorePlan:
    """The checks and the plan; nothing is written."""
    with _context(settings, request) as context:
        return prepare(context, JobId(new_id(utc_now())), request)


def ask_group_offers(settings: Settings, request: GroupRequest) -> Offers:
    """What has to be mapped for any of several, and to what it can be."""
    repository = open_repository(settings)
    with worlds(settings, repository, request.members[0].host, SilentWatch(), utc_now) as world:
        asked = [offers(world(member), member) for member in request.members]
    return replace(
        asked[0],
        networks_needed=tuple(dict.fromkeys(name for one in asked for name in one.networks_needed)),
        places_needed=tuple(dict.fromkeys(name for one in asked for name in one.places_needed)),
    )


def ask_group_plan(settings: Settings, request: GroupRequest) -> GroupPlan:
    """The checks and the plan of several; nothing is written."""
    return plan_group(settings, open_repository(settings), request, SilentWatch(), utc_now)
