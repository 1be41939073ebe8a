"""Whatever JSON comes in, a reply goes out that the SDK can post."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operations import OPERATIONS
from tests.fakes import build_worker

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(["", " ", "Ada", "wav", "auto", "s3", "../x", "\ud800", "\x00", "a" * 5000, 10**400]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
FIELDS = sorted({field for operation in OPERATIONS.values() for field in operation.request.model_fields})
INPUTS = st.one_of(
    VALUES,
    st.fixed_dictionaries(
        {"operation": st.sampled_from([*OPERATIONS, "sing", 7])},
        optional=dict.fromkeys(FIELDS, VALUES),
    ),
)
EVENTS = st.one_of(
    VALUES,
    st.fixed_dictionaries({"input": INPUTS}, optional={"id": SCALARS, "s3Config": VALUES}),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=EVENTS)
async def test_any_json_is_answered(tmp_path_factory, event):
    root = tmp_path_factory.mktemp("volume", numbered=True)
    worker = build_worker(root, env={"RUNPOD_WEBHOOK_GET_JOB": "https://jobs.example/take"})
    reply = await worker.handle(event)
    json.dumps(reply, allow_nan=False, ensure_ascii=False).encode()
    assert reply.get("error_code") != "internal", reply
    if "error_code" in reply:
        assert reply["error"].startswith(f"{reply['error_code']}: ")
        assert len(reply["error"]) < 10_000


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=EVENTS)
async def test_any_json_is_streamed(tmp_path_factory, event):
    worker = build_worker(tmp_path_factory.mktemp("volume", numbered=True))
    pieces = [piece async for piece in worker.stream(event)]
    assert pieces
    json.dumps(pieces, allow_nan=False, ensure_ascii=False).encode()
    assert pieces[-1].get("error_code") != "internal", pieces[-1]
