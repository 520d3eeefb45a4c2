#!/usr/bin/env python3
"""autobahn-python and the advanced ways of registering: patterns, every shared policy, concurrency.

    registrations.py NEAR_URL FAR_URL

Callees sit on both URLs, callers too: whatever a policy says holds for both. Last line: `N passed, M failed`.
"""
import asyncio

from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import RegisterOptions

from autobahn_python import PATIENCE, join, leave, run_script

EXISTS = "wamp.error.procedure_already_exists"


async def refused(call, uri):
    try:
        await call
    except ApplicationError as e:
        assert e.error == uri, e
        return
    raise AssertionError(f"no {uri}")


def named(name):
    async def answer(*_args, **_kwargs):
        return name

    return answer


async def patterns(near, far, tag):
    """the text's precedence, and the procedure that was called, from either node"""
    callee, other, callers = await join(near, "json"), await join(far, "cbor"), [await join(url, "msgpack") for url in (near, far)]

    def tells(name):
        async def answer(details=None):
            return [name, details.procedure]

        return answer

    def by(match):
        return RegisterOptions(match=match, details_arg="details")

    base = f"test.patterns.{tag}"
    await callee.register(tells("exact"), f"{base}.lamp.on", by("exact"))
    await other.register(tells("short"), f"{base}.la", by("prefix"))
    long = await callee.register(tells("long"), f"{base}.lamp", by("prefix"))
    await other.register(tells("first"), f"{base}..on.now", by("wildcard"))
    await callee.register(tells("second"), f"{base}.door..now", by("wildcard"))
    expected = {
        "lamp.on": "exact", "lamp.off": "long", "lamp-2": "long", "ladder": "short", "la": "short",
        "door.on.now": "second", "gate.on.now": "first", "door.off.now": "second",
    }
    for caller in callers:
        for suffix, name in expected.items():
            procedure = f"{base}.{suffix}"
            called = None if name == "exact" else procedure
            answer = await caller.call(procedure)
            assert answer[0] == name and answer[1] in (procedure, called), (suffix, answer)
        await refused(caller.call(f"{base}.gate.off.now"), "wamp.error.no_such_procedure")
        await refused(caller.call(f"{base}.door.on.now.please"), "wamp.error.no_such_procedure")
    await refused(other.register(tells("again"), f"{base}.lamp", by("prefix")), EXISTS)
    await refused(other.register(tells("bad"), f"{base}..x", by("prefix")), "wamp.error.invalid_uri")
    await long.unregister()
    for caller in callers:
        assert (await caller.call(f"{base}.lamp.off"))[0] == "short"
    for session in (callee, other, *callers):
        await leave(session)


async def shared(near, far, tag):
    """four policies over three callees on two nodes, in the order in which they registered, seen from either node"""
    callees = [await join(url, "json") for url in (near, far, near)]
    callers = [await join(url, "cbor") for url in (near, far)]
    for policy in ("first", "last", "roundrobin", "random"):
        procedure = f"test.shared.{tag}.{policy}"
        registrations = []
        for name, callee in zip("ABC", callees):
            registrations.append(await callee.register(named(name), procedure, RegisterOptions(invoke=policy)))
        assert len({registration.id for registration in registrations}) == 1
        for caller in callers:
            answers = "".join([await caller.call(procedure) for _ in range(60 if policy == "random" else 7)])
            if policy == "random":
                assert all(answers.count(name) > 5 for name in "ABC"), answers
            elif policy == "roundrobin":
                # Each node goes round for itself, from wherever it is.
                assert answers in ("ABCABCA", "BCABCAB", "CABCABC"), answers
            else:
                assert answers == {"first": "AAAAAAA", "last": "CCCCCCC"}[policy], answers
        for other in {"single", "first", "last", "roundrobin", "random"} - {policy}:
            await refused(callers[1].register(named("D"), procedure, RegisterOptions(invoke=other)), EXISTS)
        # The one in front leaves, and nobody meets it any more.
        await registrations[0 if policy == "first" else 2].unregister()
        left = {"first": "BC", "last": "AB", "roundrobin": "AB", "random": "AB"}[policy]
        for caller in callers:
            answers = {await caller.call(procedure) for _ in range(40)}
            assert answers == {"first": {"B"}, "last": {"B"}}.get(policy, set(left)), answers
    for session in (*callees, *callers):
        await leave(session)


async def busy(near, far, tag):
    """no callee has more open invocations than it asked for, whoever calls"""
    callees = [await join(url, "msgpack") for url in (near, far)]
    callers = [await join(url, "json") for url in (near, far)]
    procedure, gate, started = f"test.busy.{tag}", asyncio.Event(), asyncio.Queue()

    def slow(name):
        async def answer():
            started.put_nowait(name)
            await gate.wait()
            return name

        return answer

    for name, callee in zip("AB", callees):
        await callee.register(slow(name), procedure, RegisterOptions(invoke="first", concurrency=1))
    first = callers[1].call(procedure)
    assert await asyncio.wait_for(started.get(), PATIENCE) == "A"
    second = callers[0].call(procedure)
    assert await asyncio.wait_for(started.get(), PATIENCE) == "B"
    for caller in callers:
        await refused(caller.call(procedure), "wamp.error.no_available_callee")
    gate.set()
    assert [await first, await second] == ["A", "B"]
    assert await callers[0].call(procedure) == "A"
    for session in (*callees, *callers):
        await leave(session)


def attempts(near, far):
    for number, step in enumerate((patterns, shared, busy)):
        # The second round from the other end.
        for round_, ends in enumerate([(near, far), (far, near)]):
            yield f"{step.__name__} {ends}", step(*ends, f"t{number}r{round_}")


if __name__ == "__main__":
    run_script(__doc__, attempts)
