"""Payloads that the router passes through unread."""
from stage import ROLES, case, settled, without
from wamplib import *
from rows.calls import called, done

# Not CBOR, whatever the options say: whoever read it would fail.
SEALED = [b"\xff\x00sealed\xfe"]
OPTIONS = {"ppt_scheme": "x_table", "ppt_serializer": "cbor", "ppt_cipher": "xsalsa20poly1305", "ppt_keyid": "key-1"}


def keys(*messages):
    return " ".join("%s.%s" % (message, key) for message in messages for key in OPTIONS)


def told(details):
    return {key: value for key, value in details.items() if key.startswith("ppt_")}


@case("passthru-call", "feature.payload_passthru_mode rule.ppt.copied rule.ppt.unread " + keys("call", "invocation", "yield", "result", "error"))
async def _(s):
    """CALL to INVOCATION, YIELD to RESULT, ERROR to ERROR: options and payload arrive as they were sent"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri, SEALED, **OPTIONS)
    eq((told(invocation[3]), pl(invocation)), (OPTIONS, (SEALED, {})))
    answers = dict(OPTIONS, ppt_keyid="key-2")
    await callee.yield_(invocation, SEALED, **answers)
    result = await caller.call_end(request)
    eq((told(result[2]), pl(result)), (answers, (SEALED, {})))
    request, invocation = await called(callee, caller, uri)
    eq(told(invocation[3]), {})
    await callee.send([ERROR, INVOCATION, invocation[1], answers, "table.error.sealed", SEALED])
    error = await raises(caller.call_end(request), "table.error.sealed")
    eq((told(error.msg[3]), error.args_), (answers, SEALED))


@case("passthru-parts", "rule.ppt.copied " + keys("yield", "result"))
async def _(s):
    """parts of a result keep their options"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri, SEALED, receive_progress=True, **OPTIONS)
    await callee.yield_(invocation, SEALED, progress=True, **OPTIONS)
    part = await caller.call_end(request)
    eq((told(part[2]), part[2].get("progress"), pl(part)[0]), (OPTIONS, True, SEALED))
    await done(callee, caller, request, invocation)


@case("passthru-publish", "feature.payload_passthru_mode rule.ppt.copied rule.ppt.unread rule.ppt.subscribers " + keys("publish", "event"))
async def _(s):
    """PUBLISH to EVENT, also to a subscriber that did not announce it"""
    a, b = await s.both()
    c = await s.join(1, roles=without("subscriber", "payload_passthru_mode"))
    uri = s.uri()
    await a.subscribe(uri)
    await c.subscribe(uri)
    await b.publish(uri, SEALED, **OPTIONS)
    for peer in (a, c):
        event = await peer.event()
        eq((told(event[3]), pl(event)), (OPTIONS, (SEALED, {})))


@case("passthru-unannounced", "rule.ppt.sender uri.protocol_violation")
async def _(s):
    """a sender that did not announce it loses its session"""
    caller = await s.join(2, roles=without("caller", "payload_passthru_mode"))
    await caller.call_start(s.uri(), SEALED, **OPTIONS)
    eq(await caller.ended(), ("abort", "wamp.error.protocol_violation"))
    publisher = await s.join(2, roles=without("publisher", "payload_passthru_mode"))
    await publisher.publish(s.uri(), SEALED, ack=False, **OPTIONS)
    eq(await publisher.ended(), ("abort", "wamp.error.protocol_violation"))
    callee, caller = await s.join(0, roles=without("callee", "payload_passthru_mode")), await s.join(2)
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri)
    await callee.yield_(invocation, SEALED, **OPTIONS)
    eq(await callee.ended(), ("abort", "wamp.error.protocol_violation"))
    await raises(caller.call_end(request), "wamp.error.canceled")


@case("passthru-callee-cannot", "rule.ppt.callee_lacks uri.feature_not_supported")
async def _(s):
    """a callee that did not announce it is not invoked: wamp.error.feature_not_supported"""
    callee, caller = await s.join(0, roles=without("callee", "payload_passthru_mode")), await s.join(2)
    uri = s.uri()
    await callee.register(uri)
    await raises(caller.call(uri, SEALED, **OPTIONS), "wamp.error.feature_not_supported")
    await settled(callee)
    assert not callee.buf, callee.buf


@case("passthru-caller-cannot", "rule.ppt.caller_lacks uri.feature_not_supported")
async def _(s):
    """a caller that did not announce it gets wamp.error.feature_not_supported instead of a result it could not open"""
    callee, caller = await s.join(0), await s.join(2, roles=without("caller", "payload_passthru_mode"))
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri)
    await callee.yield_(invocation, SEALED, **OPTIONS)
    await raises(caller.call_end(request), "wamp.error.feature_not_supported")
    assert await callee.alive() and await caller.alive()
