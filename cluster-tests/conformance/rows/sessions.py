"""Joining and leaving, and who may."""
import asyncio
from stage import ROLES, case, settled
from wamplib import *


async def refused(s, realm, details=None, node=2):
    """the reason of the ABORT that a HELLO is answered with"""
    peer = await s.open(node)
    await peer.send([HELLO, realm, dict({"roles": ROLES}, **details or {})])
    message = await peer.recv()
    eq(message[0], ABORT, "the answer to HELLO")
    assert isinstance(message[1].get("message"), str), message
    return message[2]


@case("join-anonymous", "rule.auth.anonymous rule.auth.welcome")
async def _(s):
    """a client without credentials joins without a challenge, with an authid of its own and the configured role"""
    a, b = await s.both()
    for peer in (a, b):
        eq([peer.welcome[key] for key in ("authrole", "authmethod")], ["anonymous", "anonymous"])
        assert all(isinstance(peer.welcome[key], str) and peer.welcome[key] for key in ("authid", "authprovider")), peer.welcome
    assert a.welcome["authid"] != b.welcome["authid"]
    # An authid that is claimed without proof is not given.
    c = await s.join(1, details={"authid": "lamp", "authrole": "device"})
    assert c.welcome["authid"] != "lamp" and c.welcome["authrole"] == "anonymous", c.welcome


@case("join-with-ticket", "rule.auth.ticket rule.auth.welcome uri.authentication_denied")
async def _(s):
    """a ticket is asked for by CHALLENGE; the right one opens the session, a wrong one and an unknown name are refused alike"""
    lamp = await s.join(2, ticket=("lamp", "shines bright"))
    eq([lamp.welcome[key] for key in ("authid", "authrole", "authmethod")], ["lamp", "device", "ticket"])
    assert isinstance(lamp.welcome["authprovider"], str)
    for authid, ticket in (("lamp", "shines dark"), ("nobody", "shines bright"), ("lamp", "")):
        error = await raises_abort(s.join(2, ticket=(authid, ticket)))
        eq(error, "wamp.error.authentication_denied")


async def raises_abort(join):
    try:
        await join
    except WampError as e:
        eq(e.msg[0], ABORT)
        return e.msg[2]
    raise AssertionError("the session was opened")


@case("auth-method-order", "rule.auth.order uri.no_matching_auth_method uri.authentication_required")
async def _(s):
    """the first offered method that the realm has is taken; none of them, or nothing but anonymous where that is not enough, is refused"""
    peer = await s.open(2)
    await peer.send([HELLO, REALM, {"roles": ROLES, "authmethods": ["flurry", "ticket", "anonymous"], "authid": "lamp"}])
    eq((await peer.recv())[:2], [CHALLENGE, "ticket"])
    eq((await s.join(2, details={"authmethods": ["flurry", "anonymous", "ticket"], "authid": "lamp"})).welcome["authmethod"], "anonymous")
    eq(await refused(s, REALM, {"authmethods": ["flurry"]}), "wamp.error.no_matching_auth_method")
    eq(await refused(s, "table.private", {"authmethods": ["flurry"], "authid": "lamp"}), "wamp.error.no_matching_auth_method")
    eq(await refused(s, "table.private"), "wamp.error.authentication_required")
    eq(await refused(s, "table.private", {"authmethods": ["anonymous"]}), "wamp.error.authentication_required")


@case("auth-deadline", "rule.auth.deadline")
async def _(s):
    """who does not answer CHALLENGE in time loses the connection"""
    peer = await s.open(2)
    await peer.send([HELLO, REALM, {"roles": ROLES, "authmethods": ["ticket"], "authid": "lamp"}])
    eq((await peer.recv())[0], CHALLENGE)
    how, _ = await peer.ended(20)
    assert how in ("abort", "closed"), how
    other = await s.join(2)
    assert await other.alive()


@case("no-such-realm", "uri.no_such_realm uri.invalid_uri")
async def _(s):
    """an unknown realm and one that is no URI are refused by ABORT"""
    eq(await refused(s, "table.no.such.realm"), "wamp.error.no_such_realm")
    eq(await refused(s, "table..realm"), "wamp.error.invalid_uri")


@case("goodbye", "uri.close_realm uri.goodbye_and_out")
async def _(s):
    """GOODBYE with wamp.close.close_realm is answered by one with wamp.close.goodbye_and_out, and what the session had is gone everywhere"""
    a, b = await s.both()
    uri = s.uri()
    await a.register(uri)
    answer = await a.goodbye("wamp.close.close_realm")
    eq(answer[2], "wamp.close.goodbye_and_out")
    assert isinstance(answer[1], dict)
    await eventually(lambda: err_of(b.call(uri)), "wamp.error.no_such_procedure")


VIOLATIONS = [
    [HELLO, REALM, {"roles": ROLES}], [WELCOME, 5, {"roles": {"broker": {}}}], [CHALLENGE, "ticket", {}], [AUTHENTICATE, "x", {}],
    [ERROR, CALL, 1, {}, "table.error"], [YIELD, 77, {}], [ERROR, INVOCATION, 77, {}, "table.error"], [SUBSCRIBE, 7, {}, "table.x"],
    [PUBLISH, 1, {}], [CALL, 1, {}, 5], [CALL, 0, {}, "table.x"], [EVENT, 1, 2, {}], [999, 1], [],
]


@case("protocol-violations", "uri.protocol_violation rule.violation.ends")
async def _(s):
    """whatever is against the protocol ends the session with ABORT wamp.error.protocol_violation, and what it had is gone"""
    watcher = await s.join(0)

    async def violate(message):
        peer = await s.join(2)
        uri = s.uri()
        await peer.register(uri)
        peer.rid = 1
        await peer.send(message)
        eq(await peer.ended(), ("abort", "wamp.error.protocol_violation"), repr(message))
        await eventually(lambda: err_of(watcher_call(uri)), "wamp.error.no_such_procedure")

    async def watcher_call(uri):
        async with turn:
            return await watcher.call(uri)
    turn = asyncio.Lock()
    await asyncio.gather(*[violate(message) for message in VIOLATIONS])
    peer = await s.open(2)
    await peer.send([CALL, 1, {}, s.uri()])
    eq(await peer.ended(), ("abort", "wamp.error.protocol_violation"))


@case("unknown-options", "rule.options.unknown")
async def _(s):
    """options that nobody knows are ignored in every message"""
    a, b = await s.both()
    uri = s.uri()
    more = {"table_option": [1, None], "_table": {"x": 1}}
    await a.register(uri, **more)
    await a.subscribe(uri, **more)
    request = await b.call_start(uri, [1], **more)
    await a.yield_(await a.inv(), [2], **more)
    eq(pl(await b.call_end(request))[0], [2])
    await b.publish(uri, [3], **more)
    event = await a.event()
    eq((pl(event)[0], set(more) & set(event[3])), ([3], set()))
