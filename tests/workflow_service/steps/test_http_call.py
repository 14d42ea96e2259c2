from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.workflow_service.building import build
from workflow_service.definition import HttpCall
from workflow_service.events import Failure, FailureKind, ValueMade
from workflow_service.steps.addresses import GuardedResolver
from workflow_service.steps.effect import Effect, StepRefused, effect_key
from workflow_service.steps.http_call import BODY_BYTES_MAX, HttpCaller


class Endpoint:
    """A real HTTP server that notes what it was asked and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer = web.Response(text="ok")
        self.port = 0

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Note the request and answer it."""
        headers = {name.lower(): text for name, text in request.headers.items()}
        body = await request.read()
        self.requests.append((request.method, request.path, headers, body))
        return self.answer


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    app = web.Application(client_max_size=10 * BODY_BYTES_MAX)
    app.router.add_route("*", "/{path:.*}", endpoint.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    endpoint.port = runner.addresses[0][1]
    yield endpoint
    await runner.cleanup()


def call(url: str, **fields: Any) -> HttpCall:
    action = {"method": "METHOD_POST", "url": url, **fields}
    definition = build({"steps": [{"id": "a", "action": {"httpCall": action}}]})
    kind = definition.steps[0].kind
    assert isinstance(kind, HttpCall)
    return kind


async def make(kind: HttpCall, *, allowed: tuple[str, ...] = ("127.0.0.1", "localhost")) -> Any:
    caller = HttpCaller(GuardedResolver(allowed))
    effect = Effect(
        run_id="run_1",
        owner="usr_1",
        key=effect_key("run_1", "a"),
        context={"input": {"order": "7"}, "steps": {}, "run": {}},
        datasets={},
        timeout_s=10,
    )
    try:
        async with asyncio.timeout(10):
            return await caller.call(kind, effect)
    finally:
        await caller.close()


async def test_a_call_carries_body_headers_and_its_key(endpoint: Endpoint) -> None:
    endpoint.answer = web.json_response({"id": 1, "big": 2**70, "nested": [1.5, None]})
    kind = call(
        f"'http://localhost:{endpoint.port}/orders/' + input.order",
        headers={"X-Order": "input.order"},
        body="{'order': input.order, 'at': timestamp('2013-01-31T00:00:00Z')}",
    )
    outcome = await make(kind)
    assert outcome == ValueMade(
        value={"status": 200, "body": {"id": 1, "big": float(2**70), "nested": [1.5, None]}}
    )
    [(method, path, headers, body)] = endpoint.requests
    assert (method, path) == ("POST", "/orders/7")
    assert headers["x-order"] == "7"
    assert headers["idempotency-key"] == effect_key("run_1", "a")
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {"order": "7", "at": "2013-01-31T00:00:00+00:00"}


async def test_a_call_without_a_body_sends_none(endpoint: Endpoint) -> None:
    outcome = await make(call(f"'http://127.0.0.1:{endpoint.port}/'"))
    assert outcome == ValueMade(value={"status": 200, "body": "ok"})
    assert endpoint.requests[0][3] == b""


@pytest.mark.parametrize(
    "text", ["not json", "[" * 30 + "]" * 30, '"\\ud800"', "[" * 100_000, "1" * 5000]
)
async def test_json_that_an_expression_cannot_take_is_text(endpoint: Endpoint, text: str) -> None:
    endpoint.answer = web.Response(text=text, content_type="application/json")
    outcome = await make(call(f"'http://127.0.0.1:{endpoint.port}/'"))
    assert isinstance(outcome, ValueMade)
    assert outcome.value == {"status": 200, "body": text}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, FailureKind.PERMANENT),
        (302, FailureKind.PERMANENT),
        (408, FailureKind.TRANSIENT),
        (429, FailureKind.TRANSIENT),
        (500, FailureKind.TRANSIENT),
        (503, FailureKind.TRANSIENT),
    ],
)
async def test_an_answer_that_is_no_success_is_a_failure(
    endpoint: Endpoint, status: int, kind: FailureKind
) -> None:
    endpoint.answer = web.Response(status=status, headers={"Location": "http://example.org/"})
    outcome = await make(call(f"'http://127.0.0.1:{endpoint.port}/'"))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.reason) == (kind, f"HTTP_{status}")
    assert len(endpoint.requests) == 1


async def test_an_answer_that_is_too_large_is_not_read_to_its_end(endpoint: Endpoint) -> None:
    endpoint.answer = web.Response(body=b"x" * (BODY_BYTES_MAX + 1))
    outcome = await make(call(f"'http://127.0.0.1:{endpoint.port}/'"))
    assert isinstance(outcome, Failure)
    assert outcome.reason == "STEP_RESULT_TOO_LARGE"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433"])
async def test_this_machine_is_refused_unless_configuration_names_it(
    endpoint: Endpoint, host: str
) -> None:
    kind = call(f"'http://{host}:{endpoint.port}/'")
    try:
        outcome = await make(kind, allowed=())
    except StepRefused as refused:
        outcome = refused.failure
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.reason) == (FailureKind.PERMANENT, "HTTP_REFUSED")
    assert not endpoint.requests


@pytest.mark.parametrize(
    "url", ["'ftp://example.org/'", "'/relative'", "'http://'", "'http://[::1'", "1", "'x' + 'y'"]
)
async def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(StepRefused) as refused:
        await make(call(url))
    assert refused.value.failure.reason == "HTTP_REFUSED"


@pytest.mark.parametrize(
    "headers", [{"Host": "'x'"}, {"X-A": "'a\\r\\nB: c'"}, {"X A": "'x'"}, {"X-A": "1"}]
)
async def test_headers_that_are_not_a_workflows_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(StepRefused) as refused:
        await make(call("'http://127.0.0.1:1/'", headers=headers))
    assert refused.value.failure.reason == "HTTP_REFUSED"


async def test_nobody_there_may_pass() -> None:
    outcome = await make(call("'http://127.0.0.1:1/'"))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.reason) == (FailureKind.TRANSIENT, "HTTP_FAILED")


async def test_an_expression_without_a_value_names_its_place() -> None:
    with pytest.raises(StepRefused, match="url: ") as refused:
        await make(call("'http://x/' + input.missing"))
    assert refused.value.failure.reason == "EXPRESSION_FAILED"
