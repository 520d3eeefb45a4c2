"""CANCEL and INTERRUPT."""
from stage import case, settled, without
from wamplib import *
from rows.calls import called, done


async def canceled(caller, request, **options):
    await caller.send([CANCEL, request, options])
    await raises(caller.call_end(request), "wamp.error.canceled")


async def begun(s, **kw):
    callee, caller = await s.both(**kw)
    uri = s.uri()
    await callee.register(uri)
    return (callee, caller, uri, *await called(callee, caller, uri))


async def still_works(callee, caller, uri):
    request, invocation = await called(callee, caller, uri)
    eq(pl(await done(callee, caller, request, invocation, "fine"))[0], ["fine"])


@case("cancel-skip", "feature.call_canceling cancel.mode uri.canceled rule.cancel.skip rule.cancel.late_answer")
async def _(s):
    """skip: the caller hears at once, the callee nothing, and its answer is dropped"""
    callee, caller, uri, request, invocation = await begun(s)
    await canceled(caller, request, mode="skip")
    await callee.yield_(invocation, ["late"])
    await still_works(callee, caller, uri)
    assert not callee.buf and not caller.buf, (callee.buf, caller.buf)


@case("cancel-kill", "feature.call_canceling cancel.mode interrupt.mode rule.cancel.kill")
async def _(s):
    """kill: the callee is interrupted, and whatever it answers reaches the caller"""
    callee, caller, uri, request, invocation = await begun(s)
    await caller.send([CANCEL, request, {"mode": "kill"}])
    interrupt = await callee.expect(INTERRUPT)
    eq((interrupt[1], interrupt[2]["mode"]), (invocation[1], "kill"))
    await settled(caller)
    assert not caller.buf, caller.buf
    await callee.err(invocation, "wamp.error.canceled", ["tidied up"])
    eq((await raises(caller.call_end(request), "wamp.error.canceled")).args_, ["tidied up"])
    request, invocation = await called(callee, caller, uri)
    await caller.send([CANCEL, request, {"mode": "kill"}])
    await callee.expect(INTERRUPT)
    await callee.yield_(invocation, ["finished first"])
    eq(pl(await caller.call_end(request))[0], ["finished first"])


@case("cancel-killnowait", "feature.call_canceling cancel.mode interrupt.mode interrupt.reason rule.cancel.killnowait rule.cancel.late_answer")
async def _(s):
    """killnowait: the caller hears at once, the callee is interrupted, its answer is dropped"""
    callee, caller, uri, request, invocation = await begun(s)
    await canceled(caller, request, mode="killnowait")
    interrupt = await callee.expect(INTERRUPT)
    eq((interrupt[1], interrupt[2]["mode"], interrupt[2]["reason"]), (invocation[1], "killnowait", "wamp.error.canceled"))
    await callee.err(invocation, "wamp.error.canceled")
    await still_works(callee, caller, uri)
    assert not callee.buf and not caller.buf, (callee.buf, caller.buf)


@case("cancel-default", "cancel.mode rule.cancel.default")
async def _(s):
    """without a mode it is killnowait"""
    callee, caller, uri, request, invocation = await begun(s)
    await canceled(caller, request)
    eq((await callee.expect(INTERRUPT))[2]["mode"], "killnowait")


@case("cancel-degrades", "cancel.mode rule.cancel.degrade rule.cancel.late_answer")
async def _(s):
    """a callee without call_canceling makes every mode skip"""
    for mode in ("kill", "killnowait"):
        callee, caller, uri, request, invocation = await begun(s, roles=without("callee", "call_canceling"))
        await canceled(caller, request, mode=mode)
        await callee.yield_(invocation, ["late"])
        await still_works(callee, caller, uri)
        assert not callee.buf and not caller.buf, (callee.buf, caller.buf)


@case("cancel-of-nothing", "rule.cancel.unknown")
async def _(s):
    """a CANCEL of a call that has ended is ignored"""
    callee, caller, uri, request, invocation = await begun(s)
    await done(callee, caller, request, invocation)
    for mode in ("skip", "kill", "killnowait"):
        await caller.send([CANCEL, request, {"mode": mode}])
    await still_works(callee, caller, uri)
    assert not callee.buf and not caller.buf, (callee.buf, caller.buf)


@case("cancel-unknown-mode", "cancel.mode uri.invalid_argument")
async def _(s):
    """a mode that nobody knows ends the call with wamp.error.invalid_argument"""
    callee, caller, uri, request, _ = await begun(s)
    await caller.send([CANCEL, request, {"mode": "gently"}])
    await raises(caller.call_end(request), "wamp.error.invalid_argument")
