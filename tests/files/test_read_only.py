"""Read-only mode holds for a guest as it does for its host, whoever asks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vmtui.files.put import guest_of
from vmtui.model.errors import ExitCode, RefusedError
from vmtui.model.ids import VmId


@pytest.mark.parametrize(("everything", "host"), [(True, False), (False, True)])
def test_nothing_is_put_into_a_guest_of_a_read_only_host(everything: bool, host: bool) -> None:
    settings: Any = SimpleNamespace(read_only=everything, hosts={"north": SimpleNamespace(read_only=host)})
    with pytest.raises(RefusedError) as caught, guest_of(settings, "north", VmId("0"), "web1"):
        pass
    assert caught.value.id == "READ-ONLY"
    assert caught.value.exit_code is ExitCode.REFUSED
