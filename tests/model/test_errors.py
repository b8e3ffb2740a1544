from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import vmtui
from vmtui.model import errors
from vmtui.model.errors import CATALOG, VmtuiError, concerning, error_from_json

CODES = {
    "UsageError": 2,
    "DamageError": 3,
    "UnreachableError": 4,
    "RefusedError": 5,
    "FailedError": 1,
    "CancelledError": 6,
}
SOURCES = [path for path in Path(vmtui.__file__).parent.rglob("*.py") if path.name != "errors.py"]
TEXT = "\n".join(path.read_text() for path in SOURCES)


def test_ids_are_unique_and_upper_case_with_texts() -> None:
    assert len(errors._ROWS) == len(CATALOG)
    for error_id, meaning, next_step in errors._ROWS:
        assert re.fullmatch(r"[A-Z]+(-[A-Z]+)*", error_id)
        assert meaning.endswith(".") and next_step.strip()


def test_every_id_that_is_raised_is_in_the_catalogue() -> None:
    raised = set(re.findall(r'(?:Error|Damage|kind)\(\s*"([A-Z]+(?:-[A-Z]+)*)"', TEXT))
    assert len(raised) > 20
    assert raised <= CATALOG.keys()


@pytest.mark.parametrize("error_id", CATALOG)
def test_every_id_of_the_catalogue_is_used(error_id: str) -> None:
    assert f'"{error_id}"' in TEXT


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_an_error_crosses_a_process_border(name: str, code: int) -> None:
    cls: type[VmtuiError] = getattr(errors, name)
    error = cls("LIBVIRT", "it said [no]\n", next_step="ask", host="n", count=3)
    again = error_from_json(json.loads(json.dumps(error.to_json())))
    assert type(again) is cls
    assert again.exit_code == code
    assert again.to_json() == error.to_json()


def test_an_id_of_another_version_becomes_internal() -> None:
    assert error_from_json(VmtuiError("LIBVIRT", "x").to_json() | {"id": "FROM-TOMORROW"}).id == "INTERNAL"


def test_what_is_already_known_stays() -> None:
    with pytest.raises(VmtuiError) as caught, concerning(host="outer", vm="v"), concerning(host="inner"):
        raise VmtuiError("LIBVIRT", "x")
    assert caught.value.facts == {"host": "inner", "vm": "v"}
