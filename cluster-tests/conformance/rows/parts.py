"""Results and arguments that come in parts."""
import asyncio
from stage import case, settled, without
from wamplib import *
from rows.calls import called, done


@case("progressive-results", "feature.progressive_call_results call.receive_progress invocation.receive_progress yield.progress result.progress "
      "rule.progress.flow")
async def _(s):
    """parts of a result come at once and in order, each marked, before the final one"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri, receive_progress=True)
    eq(invocation[3].get("receive_progress"), True)
    await callee.yield_(invocation, [0], progress=True)
    first = await caller.call_end(request)
    eq((first[2].get("progress"), pl(first)[0]), (True, [0]))
    for n in range(1, 20):
        await callee.yield_(invocation, [n], {"n": n}, progress=True)
    await callee.yield_(invocation, ["end"])
    for n in range(1, 20):
        part = await caller.call_end(request)
        eq((part[2].get("progress"), pl(part)), (True, ([n], {"n": n})))
    last = await caller.call_end(request)
    eq((last[2].get("progress", False), pl(last)[0]), (False, ["end"]))


@case("progress-not-asked-for", "call.receive_progress invocation.receive_progress rule.progress.needs_features")
async def _(s):
    """receive_progress reaches only callees that announced progressive results and canceling; parts nobody asked for are dropped"""
    caller = await s.join(2)
    for lacking in ("progressive_call_results", "call_canceling", None):
        callee = await s.join(0, roles=without("callee", *[lacking] if lacking else []))
        uri = s.uri()
        await callee.register(uri)
        options = {"receive_progress": True} if lacking else {}
        request, invocation = await called(callee, caller, uri, **options)
        assert "receive_progress" not in invocation[3], invocation
        await callee.yield_(invocation, ["part"], progress=True)
        eq(pl(await done(callee, caller, request, invocation, "whole"))[0], ["whole"])


@case("progress-ends-in-error", "rule.progress.error")
async def _(s):
    """an ERROR after parts ends the call"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri, receive_progress=True)
    await callee.yield_(invocation, [1], progress=True)
    await callee.err(invocation, "table.error.broken")
    eq(pl(await caller.call_end(request))[0], [1])
    await raises(caller.call_end(request), "table.error.broken")


async def part(caller, request, uri, args, more, **options):
    """a further part of the arguments of a call"""
    await caller.send([CALL, request, dict(options, **({"progress": True} if more else {})), uri, args])


@case("progressive-invocations", "feature.progressive_call_invocations call.progress invocation.progress rule.chunks.one_invocation "
      "rule.chunks.same_callee")
async def _(s):
    """parts of arguments come under one invocation id to one of several callees, in order, the last without progress"""
    callees = (await s.join(0), await s.join(1))
    caller, uri = await s.join(2), s.uri()
    for callee in callees:
        await callee.register(uri, invoke="roundrobin")
    for callee_of_call in range(2):
        request = await caller.call_start(uri, [0], progress=True)
        for n in range(1, 5):
            await part(caller, request, uri, [n], n < 4)
        waits = [asyncio.ensure_future(callee.inv()) for callee in callees]
        (first,), _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        callee = callees[waits.index(first)]
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        invocation = first.result()
        parts = [invocation] + [await callee.inv() for _ in range(4)]
        eq([(i[1], i[2], pl(i)[0], i[3].get("progress", False)) for i in parts],
           [(invocation[1], invocation[2], [n], n < 4) for n in range(5)])
        await done(callee, caller, request, invocation)


@case("chunks-both-ways", "feature.progressive_call_invocations feature.progressive_call_results call.progress yield.progress rule.chunks.both_ways")
async def _(s):
    """parts of a result come while arguments are still sent"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri, [0], progress=True, receive_progress=True)
    await callee.yield_(invocation, ["of 0"], progress=True)
    eq(pl(await caller.call_end(request))[0], ["of 0"])
    await part(caller, request, uri, [1], False, receive_progress=True)
    eq(pl(await callee.inv())[0], [1])
    eq(pl(await done(callee, caller, request, invocation, "of 1"))[0], ["of 1"])


@case("chunks-options-frozen", "rule.chunks.frozen")
async def _(s):
    """only progress counts of the options of further parts"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    request, first = await called(callee, caller, uri, [0], progress=True, disclose_me=True)
    await part(caller, request, uri, [1], True, receive_progress=True, timeout=1)
    await part(caller, request, uri, [2], False)
    second, third = await callee.inv(), await callee.inv()
    for invocation in (first, second, third):
        invocation[3].pop("progress", None)
    eq((second[3], third[3]), (first[3], first[3]))
    eq(first[3]["caller"], caller.session)
    await asyncio.sleep(0.05)
    await done(callee, caller, request, first)


@case("chunks-unannounced", "rule.chunks.announced uri.protocol_violation")
async def _(s):
    """a caller that sends parts without having announced it loses its session"""
    caller = await s.join(2, roles=without("caller", "progressive_call_invocations"))
    await caller.call_start(s.uri(), [0], progress=True)
    eq(await caller.ended(), ("abort", "wamp.error.protocol_violation"))


@case("chunks-callee-cannot", "rule.chunks.callee_lacks uri.feature_not_supported")
async def _(s):
    """a callee that cannot take parts makes the call fail with wamp.error.feature_not_supported"""
    caller = await s.join(2)
    for lacking in ("progressive_call_invocations", "call_canceling"):
        callee = await s.join(0, roles=without("callee", lacking))
        uri = s.uri()
        await callee.register(uri)
        request = await caller.call_start(uri, [0], progress=True)
        await part(caller, request, uri, [1], False)
        await raises(caller.call_end(request), "wamp.error.feature_not_supported")
        await settled(callee)
        assert not callee.buf, callee.buf
    assert await caller.alive()


@case("chunks-late", "rule.chunks.late")
async def _(s):
    """a part of a call that has ended is dropped without a word"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    request, invocation = await called(callee, caller, uri, [0], progress=True)
    await callee.yield_(invocation, ["enough"])
    eq(pl(await caller.call_end(request))[0], ["enough"])
    await part(caller, request, uri, [1], True)
    await part(caller, request, uri, [2], False)
    request, invocation = await called(callee, caller, uri, ["next"])
    eq(pl(invocation)[0], ["next"])
    await done(callee, caller, request, invocation)
    assert not caller.buf, caller.buf


@case("chunks-of-a-plain-call", "rule.chunks.not_progressive uri.protocol_violation")
async def _(s):
    """the id of an open call that is not in parts may not be used again"""
    callee, caller = await s.both()
    uri = s.uri()
    await callee.register(uri)
    request, _ = await called(callee, caller, uri, [0])
    await part(caller, request, uri, [1], False)
    eq(await caller.ended(), ("abort", "wamp.error.protocol_violation"))


@case("call-id-gap", "rule.chunks.gap uri.protocol_violation")
async def _(s):
    """a CALL whose id leaves a gap ends the session"""
    caller = await s.join(2)
    await settled(caller)
    await caller.send([CALL, 9, {}, s.uri()])
    eq(await caller.ended(), ("abort", "wamp.error.protocol_violation"))
