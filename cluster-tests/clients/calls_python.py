#!/usr/bin/env python3
"""autobahn-python against a router: results in parts, cancelling, time limits, the caller's name, and payloads that only peers read.

    calls_python.py CALLEE_URL CALLER_URL

URLs are as for autobahn_python.py; each serializer is tried on each transport. Last line: `N passed, M failed`.
"""
import asyncio
import json
from urllib.parse import urlparse

from autobahn_python import PATIENCE, SERIALIZERS, join, leave, on_each, run_script

from autobahn.wamp import message
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.interfaces import IPayloadCodec
from autobahn.wamp.types import CallOptions, EncodedPayload, PublishOptions, RegisterOptions


class DisclosedCall(message.Call):
    """A CALL that asks for its caller to be named; autobahn's own options have no word for it."""

    def marshal(self):
        marshalled = super().marshal()
        marshalled[2]["disclose_me"] = True
        return marshalled


def disclosed(caller, procedure, *args):
    plain = message.Call
    message.Call = DisclosedCall
    try:
        return caller.call(procedure, *args)
    finally:
        message.Call = plain


class Sleeper:
    """A procedure that sleeps until it is interrupted, and says so."""

    def __init__(self):
        self.started, self.interrupted = asyncio.Queue(), asyncio.Queue()

    async def __call__(self, name):
        self.started.put_nowait(name)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.interrupted.put_nowait(name)
            raise


class Sealed(IPayloadCodec):
    """A payload is one binary in the place of args, as autobahn's "payload transparency" has it."""

    def encode(self, is_originating, uri, args=None, kwargs=None):
        return EncodedPayload(json.dumps([uri, args, kwargs]).encode(), "x_test", "json")

    def decode(self, is_originating, uri, encoded_payload):
        assert encoded_payload.enc_algo == "x_test"
        return json.loads(encoded_payload.payload)


async def sealed(near, far, serializer):
    """calls, errors and events whose payload is no list, also between two serializers"""
    others = list(SERIALIZERS)
    other = others[(others.index(serializer) + 1) % len(others)]
    callee, caller = await join(near, serializer), await join(far, other)
    for session in (callee, caller):
        session.set_payload_codec(Sealed())
    tag = f"test.sealed.{serializer}.{urlparse(near).scheme}.{urlparse(far).scheme}"

    def add(a, b):
        if b == "bad":
            raise ApplicationError("test.error.bad", "first")
        return a + b

    news = asyncio.Queue()
    await callee.register(add, f"{tag}.add")
    await callee.subscribe(news.put_nowait, f"{tag}.news")
    assert await caller.call(f"{tag}.add", 2, 3) == 5
    try:
        await caller.call(f"{tag}.add", 2, "bad")
        raise AssertionError("an ERROR of the callee did not reach the caller")
    except ApplicationError as e:
        assert (e.error, list(e.args)) == ("test.error.bad", ["first"]), e
    await caller.publish(f"{tag}.news", "sealed news", options=PublishOptions(acknowledge=True))
    await arrived(news, "sealed news")
    await leave(callee)
    await leave(caller)


async def arrived(queue, name):
    assert await asyncio.wait_for(queue.get(), PATIENCE) == name


async def calls(near, far, serializer):
    callee, caller = await join(near, serializer), await join(far, serializer)
    tag = f"test.calls.{serializer}.{urlparse(near).scheme}.{urlparse(far).scheme}"
    sleeper = Sleeper()

    async def count(n, details=None):
        for i in range(n):
            if details.progress:
                details.progress(i, half=i / 2)
            if i % 7 == 0:
                await asyncio.sleep(0)
        return n

    async def who(details=None):
        return [details.caller, details.caller_authid, details.caller_authrole]

    details = RegisterOptions(details_arg="details")
    await callee.register(count, f"{tag}.count", options=details)
    await callee.register(who, f"{tag}.who", options=details)
    await callee.register(sleeper, f"{tag}.sleep")

    # Parts of a result: all of them, in order, before the end; none for who did not ask.
    parts = []
    options = CallOptions(on_progress=lambda i, half=None: parts.append((i, half)))
    assert await caller.call(f"{tag}.count", 100, options=options) == 100
    assert parts == [(i, i / 2) for i in range(100)], parts
    assert await caller.call(f"{tag}.count", 100) == 100
    assert len(parts) == 100

    # The caller gives up: the callee is interrupted and stays.
    call = caller.call(f"{tag}.sleep", "cancelled")
    await arrived(sleeper.started, "cancelled")
    call.cancel()
    await arrived(sleeper.interrupted, "cancelled")
    assert await caller.call(f"{tag}.count", 1) == 1

    # The time is over: the caller hears so and the callee is interrupted.
    try:
        await caller.call(f"{tag}.sleep", "late", options=CallOptions(timeout=300))
        raise AssertionError("a call outlived its time")
    except ApplicationError as e:
        assert e.error == "wamp.error.timeout", e
    await arrived(sleeper.started, "late")
    await arrived(sleeper.interrupted, "late")
    assert await caller.call(f"{tag}.count", 2, options=CallOptions(timeout=30_000)) == 2

    # The caller leaves in the middle of its call.
    fleeting = await join(far, serializer)
    abandoned = fleeting.call(f"{tag}.sleep", "left")
    await arrived(sleeper.started, "left")
    await leave(fleeting)
    await arrived(sleeper.interrupted, "left")
    abandoned.cancel()

    # Who calls is told where it is asked for.
    joined = caller.joined.result()
    assert await caller.call(f"{tag}.who") == [None, None, None]
    assert await disclosed(caller, f"{tag}.who") == [joined.session, joined.authid, joined.authrole]

    # After all that nobody was harmed.
    assert sleeper.interrupted.empty() and await caller.call(f"{tag}.count", 3) == 3
    await leave(callee)
    await leave(caller)


async def both(near, far, serializer):
    await calls(near, far, serializer)
    await sealed(near, far, serializer)


if __name__ == "__main__":
    run_script(__doc__, lambda near, far: on_each(near, far, both))
