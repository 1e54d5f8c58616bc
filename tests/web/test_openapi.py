"""What the document promises is kept, whatever is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from limits import parse as parse_rate
from stand_ins import event
from timing import within
from web.houses import Standing, standing

from pe_stream.web import daemon_api, guard, search_api

pytestmark = pytest.mark.heavy

CASES = 15
TOKEN = "t0ken-of-more-than-twenty-characters"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder: Path = tmp_path_factory.mktemp("house")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "REQUESTS", parse_rate("100000/minute"))
        patch.setattr(daemon_api, "TRIES", parse_rate("100000/minute"))
        patch.setattr(search_api, "SEARCHES", parse_rate("100000/minute"))
        with standing(folder) as there:
            there.store.record(event(1, source="kitchen", label="dog"), [])
            there.history.relabel({"dog": "k"})
            there.recent.add("kitchen", 0, np.zeros((5, 3), np.float16))
            there.memory.add("kitchen", 0, np.zeros((50, 3), np.float16))
            yield there


@pytest.fixture(scope="module")
def document(house: Standing) -> Any:
    import schemathesis  # takes seconds, and each worker reads this file

    schema = schemathesis.openapi.from_url(f"{house.url}api/v1/openapi.json")
    endless = ["/api/v1/live", "/api/v1/sources/{source}/audio"]
    return schema.exclude(path=endless)


def test_every_answer_is_as_promised(document: Any) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
    )

    seen = 0
    session = requests.Session()  # one address may not open so many connections a second
    for found in document.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=CASES,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            nonlocal seen
            seen += 1
            case.call_and_validate(
                checks=[
                    not_a_server_error,
                    content_type_conformance,
                    response_schema_conformance,
                ],
                headers={"content-type": "application/json"},
                timeout=within(20),
                session=session,
            )

        check()
    session.close()
    assert seen > 100


def test_the_document_names_every_route(house: Standing) -> None:
    with house.client() as client:
        document = client.get("api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.")
    paths = {path.removeprefix("/api/v1/") for path in document["paths"]}
    assert {
        "events",
        "events/{event_id}/clip",
        "labels/{name}",
        "scores",
        "live",
        "search",
        "search/events",
        "sources/{source}/audio",
        "try",
    } <= paths
    moments = [
        parameter
        for methods in document["paths"].values()
        for parameter in methods.get("get", {}).get("parameters", ())
        if parameter["name"] in ("since", "until")
    ]
    assert len(moments) == 10
    assert all("how long ago" in json.dumps(each["schema"]) for each in moments)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), (path, method)
