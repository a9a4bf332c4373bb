"""Whatever a request holds, the answer is one that the schema names, and never a fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.servers import free_port, process

schemathesis = pytest.importorskip("schemathesis")


@pytest.fixture(scope="module")
def schema(toy: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    port = free_port()
    with process(toy, tmp_path_factory.mktemp("library"), port):
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/v1/openapi.json")


def test_any_request(schema: Any) -> None:
    checks = schemathesis.checks
    seen = []

    for each in schema.get_all_operations():
        operation = each.ok()
        seen.append(operation.label)

        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy())
        def answered(case: Any) -> None:
            case.call_and_validate(
                checks=[
                    checks.not_a_server_error,
                    checks.status_code_conformance,
                    checks.content_type_conformance,
                    checks.response_schema_conformance,
                ],
                timeout=60,
            )

        answered()
    assert {"POST /v1/jobs", "POST /v1/scans", "GET /v1/export"} <= set(seen)
