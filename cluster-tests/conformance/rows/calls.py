"""Calls: who is called, in which order, who is told of whom, and how long a call may take."""
import asyncio
from stage import ROLES, case, settled, without
from wamplib import *


async def called(callee, caller, uri, args=None, **options):
    """(the request of a CALL, the INVOCATION it became)"""
    request = await caller.call_start(uri, args, **options)
    return request, await callee.inv()


async def done(callee, caller, request, invocation, *args):
    await callee.yield_(invocation, list(args))
    return await caller.call_end(request)


async def answer(caller, uri, **options):
    """the first argument of the RESULT"""
    return pl(await caller.call(uri, **options))[0][0]


@case("call-disclosed", "feature.caller_identification call.disclose_me invocation.caller invocation.caller_authid invocation.caller_authrole")
async def _(s):
    """a caller is named where it asks for it, and not where it does not"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri)
    assert not {"caller", "caller_authid", "caller_authrole"} & set(invocation[3]), invocation
    await done(callee, caller, request, invocation)
    request, invocation = await called(callee, caller, uri, disclose_me=True)
    told = [invocation[3].get(key) for key in ("caller", "caller_authid", "caller_authrole")]
    eq(told, [caller.session, caller.welcome["authid"], caller.welcome["authrole"]])
    await done(callee, caller, request, invocation)


@case("callee-asks-who-calls", "feature.caller_identification register.disclose_caller")
async def _(s):
    """a callee that registers with disclose_caller is told who calls"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri, disclose_caller=True)
    _, invocation = await called(callee, caller, uri)
    eq(invocation[3]["caller"], caller.session)


@case("disclosure-denied", "uri.option_disallowed.disclose_me uri.option_not_allowed rule.rpc.disclosure_denied rule.pubsub.disclosure_denied")
async def _(s):
    """where the realm discloses nobody, who asks for it gets an error, and an unacknowledged PUBLISH silence"""
    callee, caller = await asyncio.gather(s.join(0, realm="table.closed"), s.join(2, realm="table.closed"))
    uri = s.uri()
    await raises(callee.register(uri, disclose_caller=True), "wamp.error.option_not_allowed")
    await callee.register(uri)
    await raises(caller.call(uri, disclose_me=True), "wamp.error.option_disallowed.disclose_me")
    await raises(caller.publish(uri, [1], disclose_me=True), "wamp.error.option_disallowed.disclose_me")
    await caller.publish(uri, [1], ack=False, disclose_me=True)
    assert await caller.alive() and not caller.buf, caller.buf


@case("call-trustlevel", "feature.call_trustlevels invocation.trustlevel rule.rpc.trustlevel")
async def _(s):
    """INVOCATION tells how far the caller is trusted, as the configuration says of its role"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    eq((await called(callee, caller, uri))[1][3]["trustlevel"], 3)
    lamp = await s.join(1, ticket=("lamp", "shines bright"))
    eq((await called(callee, lamp, uri))[1][3]["trustlevel"], 7)


@case("match-exact-first", "rule.precedence.exact register.match feature.pattern_based_registration")
async def _(s):
    """an exact registration goes before every pattern"""
    callee, caller = await s.both()
    base = s.uri()
    tail = base.rsplit(".", 1)[0]
    names = {await callee.register(tail, match="prefix"): "prefix", await callee.register(base): "exact"}
    names[await callee.register(".".join([""] + base.split(".")[1:]), match="wildcard")] = "wildcard"
    _, invocation = await called(callee, caller, base)
    eq(names[invocation[2]], "exact")


@case("match-longest-prefix", "rule.precedence.prefix invocation.procedure register.match feature.pattern_based_registration")
async def _(s):
    """the longest matching prefix wins, also over wildcards; prefixes are compared by characters; the callee is told what was called"""
    callee, other, caller = await s.trio()
    base = s.uri("lamp")
    names = {await other.register(base[:-2], match="prefix"): "short", await callee.register(base, match="prefix"): "long"}
    names[await callee.register(".".join(base.split(".")[:-1] + ["", "on"]), match="wildcard")] = "wildcard"
    for uri, name in ((base + ".on", "long"), (base + "-2", "long"), (base[:-1], "short"), (base[:-2] + "dder", "short")):
        # The first to get it, whoever it is.
        request = await caller.call_start(uri)
        peer = callee if name == "long" else other
        invocation = await peer.inv()
        eq((names[invocation[2]], invocation[3].get("procedure")), (name, uri), uri)
        await done(peer, caller, request, invocation)


@case("match-wildcard", "rule.precedence.wildcard invocation.procedure register.match feature.pattern_based_registration")
async def _(s):
    """of wildcard patterns the one whose first literal run is longer wins, then the second run, and so on"""
    callee, other, caller = await s.trio()
    base = s.uri("w")
    patterns = {"..c.d": other, ".b..d": callee, ".b..": other, ".b.c.": callee, "...d": other}
    names = {}
    for pattern, peer in patterns.items():
        names[await peer.register(base + pattern, match="wildcard")] = pattern
    for called_uri, winner in ((".b.c.d", ".b.c."), (".b.x.d", ".b..d"), (".b.x.x", ".b.."), (".x.c.d", "..c.d"), (".x.x.d", "...d")):
        request = await caller.call_start(base + called_uri)
        peer = patterns[winner]
        invocation = await peer.inv()
        eq((names[invocation[2]], invocation[3].get("procedure")), (winner, base + called_uri))
        await done(peer, caller, request, invocation)
    # An empty component stands for exactly one.
    await raises(caller.call(base + ".b.x.x.x"), "wamp.error.no_such_procedure")


@case("no-such-procedure", "rule.precedence.none uri.no_such_procedure")
async def _(s):
    """a CALL that nothing matches is answered by wamp.error.no_such_procedure"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri + ".a", match="prefix")
    await raises(caller.call(uri), "wamp.error.no_such_procedure")
    registration = await callee.register(uri)
    await callee.unregister(registration)
    await raises(caller.call(uri), "wamp.error.no_such_procedure")


@case("policy-single", "register.invoke rule.policy.single uri.procedure_already_exists")
async def _(s):
    """a procedure registered once is refused to others, on every node"""
    peers = await s.trio()
    uri = s.uri()
    await peers[0].register(uri)
    for peer in peers[1:]:
        await raises(peer.register(uri), "wamp.error.procedure_already_exists")
        await raises(peer.register(uri, invoke="roundrobin"), "wamp.error.procedure_already_exists")


async def answer_once(caller, uri):
    """the same; None for a call whose callee left meanwhile"""
    try:
        return await answer(caller, uri)
    except WampError as e:
        eq(e.uri, "wamp.error.canceled")


async def shared(s, policy):
    """callees on three nodes, which answer with their place in the order of registration, and a caller on the last node"""
    callees, uri = await s.trio(), s.uri()
    ids = {await callee.register(uri, invoke=policy) for callee in callees}
    eq(len(ids), 1, "registration ids")
    for place, callee in enumerate(callees):
        s.serve(callee, lambda _, place=place: place)
    return callees, await s.join(2), uri


@case("policy-roundrobin", "register.invoke rule.policy.roundrobin rule.policy.order feature.shared_registration")
async def _(s):
    """roundrobin goes around in the order of registration"""
    _, caller, uri = await shared(s, "roundrobin")
    answers = [await answer(caller, uri) for _ in range(7)]
    # Each node goes round for itself, from wherever it is.
    eq(answers, [(answers[0] + n) % 3 for n in range(7)])


@case("policy-first", "register.invoke rule.policy.first rule.policy.order feature.shared_registration")
async def _(s):
    """first is the oldest callee; when it leaves, the next"""
    callees, caller, uri = await shared(s, "first")
    eq([await answer(caller, uri) for _ in range(4)], [0] * 4)
    callees[0].drop()
    await eventually(lambda: answer_once(caller, uri), 1)


@case("policy-last", "register.invoke rule.policy.last rule.policy.order feature.shared_registration")
async def _(s):
    """last is the newest callee; when it leaves, the one before"""
    callees, caller, uri = await shared(s, "last")
    eq([await answer(caller, uri) for _ in range(4)], [2] * 4)
    callees[2].drop()
    await eventually(lambda: answer_once(caller, uri), 1)


@case("policy-random", "register.invoke rule.policy.random feature.shared_registration")
async def _(s):
    """random takes each of three callees in 60 calls"""
    _, caller, uri = await shared(s, "random")
    answers = [await answer(caller, uri) for _ in range(60)]
    eq(sorted(set(answers)), [0, 1, 2])
    # The chance that 60 random draws of three go around is nil.
    assert answers != [(answers[0] + n) % 3 for n in range(60)], "a round is not random"


@case("policy-fixed", "register.invoke rule.policy.fixed uri.procedure_already_exists")
async def _(s):
    """the first REGISTER fixes the policy: another one is refused"""
    a, b, c = await s.trio()
    uri = s.uri()
    await a.register(uri, invoke="roundrobin")
    for other in ("single", "random", "first", "last"):
        await raises(b.register(uri, invoke=other), "wamp.error.procedure_already_exists")
    await c.register(uri, invoke="roundrobin")


@case("policy-unknown", "register.invoke uri.invalid_argument")
async def _(s):
    """a policy that nobody knows is refused"""
    a = await s.join(2)
    await raises(a.register(s.uri(), invoke="cheapest"), "wamp.error.invalid_argument")


@case("concurrency", "register.concurrency uri.no_available_callee")
async def _(s):
    """a callee has no more open invocations than it asked for"""
    a, b, caller = await s.trio()
    uri = s.uri()
    for callee in (a, b):
        await callee.register(uri, invoke="first", concurrency=1)
    first = await caller.call_start(uri)
    one = await a.inv()
    second = await caller.call_start(uri)
    two = await b.inv()
    await raises(caller.call(uri), "wamp.error.no_available_callee")
    await done(a, caller, first, one)
    await done(b, caller, second, two)
    third = await caller.call_start(uri)
    await done(a, caller, third, await a.inv())


@case("sharded-calls", "feature.sharded_registration call.rkey call.runmode rule.rpc.sharded uri.invalid_argument")
async def _(s):
    """calls with one rkey go to one callee from every node, several keys to several callees"""
    callees, caller, uri = await shared(s, "roundrobin")
    keys = ["key%d" % n for n in range(24)]
    found = {key: await answer(caller, uri, rkey=key) for key in keys}
    assert len(set(found.values())) > 1, found
    other = await s.join(1)
    for key in keys[:8]:
        eq(await answer(caller, uri, rkey=key), found[key])
        eq(await answer(other, uri, rkey=key, runmode="partition"), found[key])
    await raises(caller.call(uri, runmode="partition"), "wamp.error.invalid_argument")


@case("order-of-calls", "rule.order.calls")
async def _(s):
    """calls of one caller to one callee arrive in the order in which they were made, over two procedures"""
    callee, caller = await s.both()
    uris = [s.uri("a"), s.uri("b")]
    for uri in uris:
        await callee.register(uri)
    for n in range(150):
        await caller.call_start(uris[n % 2], [n, "x" * (5000 if n % 7 == 0 else 1)])
    eq([pl(await callee.inv())[0][0] for _ in range(150)], list(range(150)))


@case("registered-before-invoked", "rule.order.registered_first")
async def _(s):
    """while another one calls without pause, REGISTERED comes before the first INVOCATION"""
    callee, caller = await s.both()
    for _ in range(4):
        uri = s.uri()
        for _ in range(5):
            await caller.call_start(uri)
        request = callee.nid()
        await callee.send([REGISTER, request, {}, uri])
        calling = True

        async def call():
            while calling:
                await caller.call_start(uri)
                await asyncio.sleep(0.001)
        task = asyncio.create_task(call())
        try:
            registered = await callee.recv()
            eq(registered[:2], [REGISTERED, request], "the first message")
            eq((await callee.recv())[2], registered[2])
        finally:
            calling = False
            await task
        await callee.unregister(registered[2])
        callee.buf.clear()


@case("results-may-overtake", "rule.order.results")
async def _(s):
    """a quick call is answered before a slow one that was made earlier"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    slow, first = await called(callee, caller, uri)
    quick, second = await called(callee, caller, uri)
    await done(callee, caller, quick, second)
    await done(callee, caller, slow, first)


@case("caller-leaves", "rule.rpc.caller_leaves interrupt.mode")
async def _(s):
    """the callee of a caller that leaves is interrupted in mode killnowait; what it still answers harms nobody"""
    for how in ("goodbye", "drop"):
        callee, caller = await s.both()
        uri = s.uri()
        await callee.register(uri)
        _, invocation = await called(callee, caller, uri)
        if how == "goodbye":
            await caller.goodbye()
        else:
            caller.drop()
        interrupt = await callee.expect(INTERRUPT)
        eq((interrupt[1], interrupt[2]["mode"]), (invocation[1], "killnowait"))
        await callee.yield_(invocation, ["late"])
        assert await callee.alive()


@case("callee-leaves", "rule.rpc.callee_leaves uri.canceled")
async def _(s):
    """the caller of a callee that leaves hears wamp.error.canceled"""
    for how in ("goodbye", "drop"):
        callee, caller = await s.both()
        uri = s.uri()
        await callee.register(uri)
        request, _ = await called(callee, caller, uri)
        if how == "goodbye":
            await callee.goodbye()
        else:
            callee.drop()
        await raises(caller.call_end(request), "wamp.error.canceled")


@case("result-too-large", "uri.payload_size_exceeded rule.rpc.result_too_large rule.rawsocket.limit")
async def _(s):
    """a result that the caller's transport does not take becomes wamp.error.payload_size_exceeded, and the session goes on"""
    callee, caller = await asyncio.gather(s.join(0), s.join(2, url=s.raw_url(2), maxexp=4))
    uri = s.uri()
    await callee.register(uri)
    s.serve(callee, lambda invocation: "x" * pl(invocation)[0][0])
    eq(len(await answer_of(caller, uri, 1000)), 1000)
    await raises(answer_of(caller, uri, 10_000), "wamp.error.payload_size_exceeded")
    eq(len(await answer_of(caller, uri, 10)), 10)


@case("result-not-carried", "uri.invalid_payload")
async def _(s):
    """a result that the caller's serializer cannot carry, such as NaN in JSON, becomes wamp.error.invalid_payload, and the session goes on"""
    binary = "cbor" if s.ser == "json" else s.ser
    callee, caller = await asyncio.gather(s.join(0, ser=binary), s.join(2, ser="json"))
    uri = s.uri()
    await callee.register(uri)
    s.serve(callee, lambda invocation: float("nan") if pl(invocation)[0] == ["nan"] else 1.5)
    eq(await answer_of(caller, uri, "number"), 1.5)
    await raises(answer_of(caller, uri, "nan"), "wamp.error.invalid_payload")
    eq(await answer_of(caller, uri, "number"), 1.5)


async def answer_of(caller, uri, *args):
    return pl(await caller.call(uri, list(args)))[0][0]


@case("timeout-by-dealer", "feature.call_timeout call.timeout uri.timeout rule.timeout.dealer interrupt.mode interrupt.reason")
async def _(s):
    """the dealer ends a call after its milliseconds: the caller hears wamp.error.timeout, the callee is interrupted and goes on"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri, timeout=400)
    assert "timeout" not in invocation[3], invocation
    await raises(caller.call_end(request), "wamp.error.timeout")
    interrupt = await callee.expect(INTERRUPT)
    eq((interrupt[1], interrupt[2].get("mode"), interrupt[2].get("reason")), (invocation[1], "killnowait", "wamp.error.timeout"))
    await callee.yield_(invocation, ["late"])
    assert await callee.alive()
    request, invocation = await called(callee, caller, uri)
    await done(callee, caller, request, invocation)


@case("timeout-without-canceling", "call.timeout rule.timeout.degrade")
async def _(s):
    """a callee that cannot be interrupted is not, and the caller hears of the timeout all the same"""
    callee, caller = await s.both(roles=without("callee", "call_canceling"))
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri, timeout=300)
    await raises(caller.call_end(request), "wamp.error.timeout")
    await callee.yield_(invocation, ["late"])
    await settled(callee)
    assert not callee.buf, callee.buf


@case("timeout-zero", "call.timeout rule.timeout.none")
async def _(s):
    """0 is no timeout"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri, timeout=0)
    await asyncio.sleep(0.3)
    await done(callee, caller, request, invocation)


@case("timeout-forwarded", "feature.call_timeout register.forward_timeout invocation.timeout uri.timeout rule.timeout.forwarded")
async def _(s):
    """a callee that asked for it is told the milliseconds and answers wamp.error.timeout itself; without the feature it is not told"""
    callee, caller = await s.both()
    uri, other = s.uri(), s.uri("other")
    await callee.register(uri, forward_timeout=True)
    request, invocation = await called(callee, caller, uri, timeout=20_000)
    eq(invocation[3].get("timeout"), 20_000)
    await callee.err(invocation, "wamp.error.timeout")
    await raises(caller.call_end(request), "wamp.error.timeout")
    unable = await s.join(1, roles=without("callee", "call_timeout"))
    await unable.register(other, forward_timeout=True)
    request, invocation = await called(unable, caller, other, timeout=400)
    assert "timeout" not in invocation[3], invocation
    await raises(caller.call_end(request), "wamp.error.timeout")


@case("timeout-of-parts", "rule.timeout.parts")
async def _(s):
    """a result in parts has its time for each part, not for the whole"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri, timeout=2_000, receive_progress=True)
    for n in range(4):
        await asyncio.sleep(0.7)
        await callee.yield_(invocation, [n], progress=True)
        eq(pl(await caller.call_end(request))[0], [n])
    await asyncio.sleep(0.7)
    await done(callee, caller, request, invocation)
    # And a gap that is too long ends it.
    request, invocation = await called(callee, caller, uri, timeout=600, receive_progress=True)
    await callee.yield_(invocation, [0], progress=True)
    await caller.call_end(request)
    await raises(caller.call_end(request), "wamp.error.timeout")
