"""Callees that pass a call on, and registrations that the router takes back."""
import asyncio
from stage import case, settled, without
from wamplib import *
from rows.calls import called, done

UNAVAILABLE = "wamp.error.unavailable"


async def callees(s, policy, busy):
    """callees on three nodes, of which those in `busy` are unavailable; the others answer with their place. Returns what was asked."""
    peers, uri, asked = await s.trio(), s.uri(), []
    for place, peer in enumerate(peers):
        await peer.register(uri, invoke=policy)

    async def serve(place, peer):
        while True:
            invocation = await peer.inv(600)
            asked.append(place)
            if place in busy:
                await peer.err(invocation, UNAVAILABLE)
            else:
                await peer.yield_(invocation, [place])
    for place, peer in enumerate(peers):
        s.tasks.append(asyncio.create_task(serve(place, peer)))
    return await s.join(2), uri, asked


@case("reroute-single", "feature.call_reroute rule.reroute.single uri.unavailable uri.no_available_callee")
async def _(s):
    """the only callee is unavailable: wamp.error.no_available_callee"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri)
    await callee.err(invocation, UNAVAILABLE)
    await raises(caller.call_end(request), "wamp.error.no_available_callee")


def rerouted(name, policy, busy, order=None):
    """a case for a policy: which of three callees are unavailable and, where that is fixed, in which order they are asked"""
    @case(name, "feature.call_reroute uri.unavailable rule.reroute.%s" % policy)
    async def _(s):
        """a callee is unavailable: the next one that the policy names is asked, each once"""
        caller, uri, asked = await callees(s, policy, busy)
        (free,) = {0, 1, 2} - busy
        for _ in range(3):
            asked.clear()
            eq(pl(await caller.call(uri))[0], [free])
            if order:
                eq(asked, order)
            assert len(asked) == len(set(asked)), "a callee was asked twice: %r" % asked


rerouted("reroute-first", "first", {0, 1}, [0, 1, 2])
rerouted("reroute-last", "last", {2, 1}, [2, 1, 0])
rerouted("reroute-roundrobin", "roundrobin", {0, 2})
rerouted("reroute-random", "random", {1, 2})


@case("reroute-exhausted", "rule.reroute.exhausted uri.no_available_callee")
async def _(s):
    """all callees are unavailable: wamp.error.no_available_callee, after each was asked once"""
    caller, uri, asked = await callees(s, "roundrobin", {0, 1, 2})
    await raises(caller.call(uri), "wamp.error.no_available_callee")
    eq(sorted(asked), [0, 1, 2])


@case("reroute-unannounced", "rule.reroute.announced uri.unavailable")
async def _(s):
    """of a callee that did not announce rerouting the error is the caller's"""
    callee, caller = await s.both(roles=without("callee", "call_reroute"))
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri)
    await callee.err(invocation, UNAVAILABLE, ["try later"])
    eq((await raises(caller.call_end(request), UNAVAILABLE)).args_, ["try later"])


@case("registration-revoked", "feature.registration_revocation register.force_reregister unregistered.registration unregistered.reason "
      "rule.rpc.revocation")
async def _(s):
    """who loses a registration is told by UNREGISTERED of request 0, if it announced that it wants to know"""
    old, new, caller = await s.trio()
    uri = s.uri()
    registration = await old.register(uri)
    again = await new.register(uri, force_reregister=True)
    told = await old.expect(UNREGISTERED)
    eq((told[1], told[2]["registration"]), (0, registration))
    assert isinstance(told[2]["reason"], str) and told[2]["reason"], told
    request, invocation = await called(new, caller, uri)
    eq(invocation[2], again)
    await done(new, caller, request, invocation)
    await raises(old.unregister(registration), "wamp.error.no_such_registration")


@case("registration-revoked-silently", "rule.rpc.revocation register.force_reregister")
async def _(s):
    """a callee that did not announce revocation hears nothing and is invoked no more"""
    old, new = await s.both(roles=without("callee", "registration_revocation"))
    uri = s.uri()
    await old.register(uri)
    await new.register(uri, force_reregister=True)
    caller = await s.join(1)
    request, invocation = await called(new, caller, uri)
    await done(new, caller, request, invocation)
    await settled(old)
    assert not old.buf, old.buf


@case("unregister-unknown", "uri.no_such_registration")
async def _(s):
    """UNREGISTER of an unknown registration, or of somebody else's"""
    a, b = await s.both()
    registration = await a.register(s.uri())
    await raises(b.unregister(registration), "wamp.error.no_such_registration")
    await raises(b.unregister(2 ** 53), "wamp.error.no_such_registration")
