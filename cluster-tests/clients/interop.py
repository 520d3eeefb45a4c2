#!/usr/bin/env python3
"""Traps between autobahn-python, or older clients, and a router that does as the WAMP text says; and how a profile helps.

    interop.py PLACES

PLACES is JSON: {"near": {"strict": [WS_URL, TCP_URL], "autobahn": [...], "crossbar": [...]}, "far": {...}}, the listeners of two nodes by
their profile. Callees and whatever is watched sit near, callers and watchers far. The nodes ping after 1 s of silence and take a peer for
dead after 3 s. Last line: `N passed, M failed`.

What concerns authentication (the key of WAMP-CRA, SCRAM's `c=`) is with the tests of authentication.
"""
import asyncio
import json
import logging
import sys
import time
from urllib.parse import urlparse

from all_of import all_of
from autobahn_python import PATIENCE, Session, join, leave

from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import CallOptions, PublishOptions, RegisterOptions, SubscribeOptions

OTHER_REALM = "realm2"
WS, TCP = 0, 1


class Raw:
    """A client of JSON over RawSocket that says just what it is told to."""

    @classmethod
    async def join(cls, url, features=None):
        raw, parts = cls(), urlparse(url)
        raw.reader, raw.writer = await asyncio.open_connection(parts.hostname, parts.port)
        raw.writer.write(b"\x7f\xf1\0\0")
        assert (await raw.reader.readexactly(4))[1] & 15 == 1
        roles = {role: {"features": (features or {}).get(role, {})} for role in ("caller", "callee", "publisher", "subscriber")}
        raw.say([1, "realm1", {"roles": roles}])
        assert (await raw.hear())[0] == 2
        return raw

    def say(self, message):
        text = json.dumps(message).encode()
        self.writer.write(len(text).to_bytes(4, "big") + text)

    async def hear(self):
        async def read():
            length = int.from_bytes(await self.reader.readexactly(4), "big")
            return json.loads(await self.reader.readexactly(length))

        return await asyncio.wait_for(read(), PATIENCE)


async def fails(call):
    """the error URI of a call, and how long it took"""
    begun = time.monotonic()
    try:
        result = await asyncio.wait_for(call, PATIENCE)
    except ApplicationError as e:
        return e.error, time.monotonic() - begun
    raise AssertionError(f"an error was expected, not {result!r}")


async def seconds(near, far, tag):
    """Autobahn documents `CallOptions.timeout` in seconds; the text has milliseconds."""
    callee = await join(near["strict"][WS], "cbor")

    async def sleep(time):
        await asyncio.sleep(time)
        return "slept"

    await callee.register(sleep, f"{tag}.sleep")
    one = CallOptions(timeout=1)
    strict, autobahn, crossbar = [await join(far[profile][WS], "json") for profile in ("strict", "autobahn", "crossbar")]
    error, took = await fails(strict.call(f"{tag}.sleep", 5, options=one))
    assert error == "wamp.error.timeout" and took < 0.9, (error, took)
    for session, name in ((autobahn, "wamp.error.timeout"), (crossbar, "wamp.error.canceled")):
        assert await session.call(f"{tag}.sleep", 0.3, options=one) == "slept"
        error, took = await fails(session.call(f"{tag}.sleep", 60, options=one))
        assert error == name and took > 0.9, (error, took)
    for session in (callee, strict, autobahn, crossbar):
        await leave(session)


async def idle(near, far, tag):
    """Autobahn's RawSocket knows no PING: an idle session must neither be sent one nor be taken for dead."""
    sessions = [await join(place[profile][way], "msgpack") for place in (near, far) for profile in place for way in (WS, TCP)]
    await sessions[0].register(lambda: "here", f"{tag}.here")
    await asyncio.sleep(4.5)
    for session in sessions:
        assert await asyncio.wait_for(session.call(f"{tag}.here"), PATIENCE) == "here"
    for session in sessions:
        await leave(session)


async def on_leave(near, far, tag):
    """Crossbar gives `wamp.session.on_leave` one argument, the text three; a handler that takes one fails on three."""
    text, crossbar = await join(far["strict"][WS], "json"), await join(far["crossbar"][WS], "json")
    heard, short = asyncio.Queue(), asyncio.Queue()

    def three(session, authid, authrole):
        heard.put_nowait((session, authid, authrole))

    def one(session):
        short.put_nowait(session)

    await text.subscribe(three, "wamp.session.on_leave")
    await crossbar.subscribe(one, "wamp.session.on_leave")
    gone = await join(near["autobahn"][WS], "json")
    details = gone.joined.result()
    await leave(gone)

    async def until(queue, holds):
        while not holds(await asyncio.wait_for(queue.get(), PATIENCE)):
            pass

    await until(heard, lambda args: args == (details.session, details.authid, details.authrole))
    await until(short, lambda session: session == details.session)
    await leave(text)
    await leave(crossbar)


async def killed(near, far, tag):
    """`kill_by_authrole` answers with a number; Crossbar with the sessions."""
    for profile in ("strict", "crossbar"):
        victims = [await join(place["strict"][WS], "json", OTHER_REALM) for place in (near, far)]
        killer = await join(far[profile][WS], "json", OTHER_REALM)
        answer = await killer.call("wamp.session.kill_by_authrole", "anonymous")
        ids = sorted(victim.joined.result().session for victim in victims)
        assert answer == (2 if profile == "strict" else ids), answer
        for victim in victims:
            await asyncio.wait_for(victim.gone, PATIENCE)
        await leave(killer)


class WithTicket(Session):
    def onConnect(self):
        self.join(self.config.realm, authmethods=["ticket"], authid="nobody")


async def names(near, far, tag):
    """Errors have the names that Autobahn knows."""
    callee = await join(near["strict"][WS], "json")
    await callee.register(lambda: 1, f"{tag}.shared", RegisterOptions(invoke="first"))
    for profile, method, conflict in (
        ("strict", "wamp.error.no_matching_auth_method", "wamp.error.procedure_already_exists"),
        ("autobahn", "wamp.error.no_auth_method", ApplicationError.PROCEDURE_EXISTS_INVOCATION_POLICY_CONFLICT),
        ("crossbar", "wamp.error.no_auth_method", ApplicationError.PROCEDURE_EXISTS_INVOCATION_POLICY_CONFLICT),
    ):
        try:
            await join(far[profile][WS], "json", kind=WithTicket)
            raise AssertionError("joined with a ticket that nobody has")
        except RuntimeError as e:
            assert method in str(e), (profile, e)
        other = await join(far[profile][WS], "json")
        error, _ = await fails(other.register(lambda: 2, f"{tag}.shared", RegisterOptions(invoke="last")))
        assert error == conflict, (profile, error)
        await leave(other)
    await leave(callee)


async def characters(near, far, tag):
    """A prefix is one of characters, not of components."""
    callee, caller = await join(near["strict"][WS], "cbor"), await join(far["strict"][WS], "json")
    heard = asyncio.Queue()
    await callee.subscribe(lambda arg: heard.put_nowait(arg), f"{tag}.a.b", SubscribeOptions(match="prefix"))
    await callee.register(lambda: "prefix", f"{tag}.a.b", RegisterOptions(match="prefix"))
    for suffix in ("a.b", "a.b-x", "a.bc.d", "a.b.c", "a.c"):
        await caller.publish(f"{tag}.{suffix}", suffix, options=PublishOptions(acknowledge=True))
    assert [await asyncio.wait_for(heard.get(), PATIENCE) for _ in range(4)] == ["a.b", "a.b-x", "a.bc.d", "a.b.c"]
    assert await caller.call(f"{tag}.a.b-x") == "prefix"
    assert heard.empty() and (await fails(caller.call(f"{tag}.a.c")))[0] == "wamp.error.no_such_procedure"
    await leave(callee)
    await leave(caller)


async def random_ids(near, far, tag):
    """Old clients draw request ids at random. The text wants 1, 2, 3 …, and the ABORT says which setting relaxes it."""
    for profile in ("autobahn", "crossbar"):
        callee, caller = await Raw.join(near[profile][TCP]), await Raw.join(far[profile][TCP])
        callee.say([64, 4711, {}, f"{tag}.{profile}"])
        registered = await callee.hear()
        assert registered[:2] == [65, 4711], registered
        for request in (9007199254740992, 17, 123456789):
            caller.say([48, request, {}, f"{tag}.{profile}", [request]])
            invocation = await callee.hear()
            callee.say([70, invocation[1], {}, invocation[4]])
            assert await caller.hear() == [50, request, {}, [request]]
        callee.writer.close()
        caller.writer.close()
    strict = await Raw.join(far["strict"][TCP])
    strict.say([32, 4711, {}, f"{tag}.topic"])
    abort = await strict.hear()
    assert abort[0] == 3 and abort[2] == "wamp.error.protocol_violation" and "request_id_check" in abort[1]["message"], abort


async def revoked(near, far, tag):
    """autobahn-python announces `subscription_revocation` and ends its session when a subscription is revoked."""
    remover = await join(far["strict"][WS], "json")
    for profile in ("autobahn", "crossbar", "strict"):
        subscriber, heard = await join(near[profile][WS], "json"), asyncio.Queue()
        subscription = await subscriber.subscribe(heard.put_nowait, f"{tag}.{profile}")
        await remover.call("wamp.subscription.remove_subscriber", subscription.id, subscriber.joined.result().session)
        await remover.publish(f"{tag}.{profile}", "late", options=PublishOptions(acknowledge=True))
        if profile == "strict":
            # The trap itself: should autobahn-python mend it, this switch can go.
            await asyncio.wait_for(subscriber.gone, PATIENCE)
        else:
            assert await subscriber.call("wamp.session.count") > 0, f"{profile}: the session lives on"
            await leave(subscriber)
        assert heard.empty(), profile
    await leave(remover)


async def typo(near, far, tag):
    """`call_cancelling`, as one place of the text spells it, counts as `call_canceling`."""
    for spelling, told in (("call_cancelling", True), ("call_canceling", True), ("call_cancel", False)):
        callee = await Raw.join(near["strict"][TCP], {"callee": {spelling: True}})
        caller = await Raw.join(far["strict"][TCP])
        callee.say([64, 1, {}, f"{tag}.{spelling}"])
        assert (await callee.hear())[0] == 65
        caller.say([48, 1, {}, f"{tag}.{spelling}"])
        invocation = await callee.hear()
        caller.say([49, 1, {"mode": "kill"}])
        if told:
            interrupt = await callee.hear()
            assert interrupt[:2] == [69, invocation[1]] and interrupt[2]["mode"] == "kill", interrupt
            callee.say([8, 68, invocation[1], {}, "wamp.error.canceled"])
        answer = await caller.hear()
        assert answer[:3] == [8, 48, 1] and answer[4] == "wamp.error.canceled", answer
        callee.writer.close()
        caller.writer.close()


def attempts(places):
    for step in (seconds, idle, on_leave, killed, names, characters, random_ids, revoked, typo):
        yield step.__name__, step(places["near"], places["far"], f"test.interop.{step.__name__}.{time.monotonic_ns()}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    logging.disable(logging.CRITICAL)
    sys.exit(asyncio.run(all_of(attempts(json.loads(sys.argv[1])))))
