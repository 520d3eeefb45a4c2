#!/usr/bin/env python3
"""autobahn-python against reflection and JSON Schemas: who defines and calls sits on one node, who answers and watches on another.

    reflection.py NEAR_URL FAR_URL      the callee, the subscriber and the watcher sit on the first URL, the others on the second

Expects realm.allow_define, and the definition of `test.fixed` in the configuration (one integer). Last line: `N passed, M failed`.
"""
import asyncio
import logging
import sys
import traceback

import txaio

txaio.use_asyncio()

from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import CallOptions, PublishOptions, RegisterOptions

from autobahn_python import PATIENCE, SERIALIZERS, leave
from autobahn_python import join

ACKNOWLEDGED = PublishOptions(acknowledge=True)


async def fails(error, call):
    try:
        result = await call
    except ApplicationError as e:
        assert e.error == error, e
        return e
    raise AssertionError(f"{error} was expected, not {result!r}")


async def breaks(call):
    await fails("wamp.error.invalid_argument", call)


def numbers(least, most):
    return {"args": {"items": {"type": "integer"}, "minItems": least, "maxItems": most}}


async def holds_everywhere(session, uri, call):
    """A definition is in force on its own node at once, and on the others as soon as their logs are there."""
    for _ in range(100):
        try:
            await call()
        except ApplicationError as e:
            assert e.error == "wamp.error.invalid_argument", e
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the schema of {uri} does not hold")


async def definitions(near, far, serializer):
    """define, undefine, describe and list, and the events, seen from another node"""
    watcher, asker = await join(near, serializer), await join(far, serializer)
    heard = asyncio.Queue()
    await watcher.subscribe(lambda *args: heard.put_nowait(("defined", args)), "wamp.reflect.on_define")
    await watcher.subscribe(lambda *args: heard.put_nowait(("undefined", args)), "wamp.reflect.on_undefine")

    async def told(what, uri):
        got, args = await asyncio.wait_for(heard.get(), PATIENCE)
        assert (got, args[0]) == (what, uri), (got, args)
        return args[1:]

    uri = f"test.reflect.{serializer}"
    definition = {"type": "procedure", "description": "ädds", "call": numbers(2, 2), "since": 3, "tags": ["a", None, 0.5]}
    assert await asker.call("wamp.reflect.define", uri, definition) is True
    (described, new) = await told("defined", uri)
    assert new is True and described == {**definition, "uri": uri, "match": "exact"}, described
    assert await asker.call("wamp.reflect.define", uri, definition) is None
    assert await asker.call("wamp.reflect.define", uri, {**definition, "since": 4}) is False
    assert (await told("defined", uri))[1] is False
    # Whatever was answered before is seen from every node.
    assert (await watcher.call("wamp.reflection.procedure.describe", uri))["since"] == 4
    assert uri in (await watcher.call("wamp.reflection.procedure.list"))["exact"]
    assert uri not in (await watcher.call("wamp.reflection.topic.list"))["exact"]
    assert [d["uri"] for d in await watcher.call("wamp.reflect.describe", uri)] == [uri]
    assert "test.fixed" in [d["uri"] for d in await watcher.call("wamp.reflect.describe")]
    assert await watcher.call("wamp.reflection.error.describe", uri) is None
    await fails("wamp.error.not_authorized", asker.call("wamp.reflect.define", "test.fixed", {"type": "procedure"}))
    await fails("wamp.error.invalid_uri", asker.call("wamp.reflect.define", "wamp.session.count", {"type": "procedure"}))
    await breaks(asker.call("wamp.reflect.define", uri, {"type": "procedure", "call": {"args": {"type": "intege"}}}))
    assert await watcher.call("wamp.reflect.undefine", uri) == uri
    assert await told("undefined", uri) == ({"type": "procedure", "match": "exact"},)
    assert await watcher.call("wamp.reflect.undefine", uri) is None
    await leave(watcher)
    await leave(asker)


async def calls(near, far, serializer):
    """arguments and results, of a procedure and of a pattern, and what an error says"""
    callee, caller = await join(near, serializer), await join(far, serializer)
    name = f"test.calls.{serializer}"
    seen = []

    async def add(*args):
        seen.append(args)
        return sum(args) if sum(args) < 10 else "too much"

    async def fail():
        raise ApplicationError(f"{name}.error", "no number")

    await callee.register(add, f"{name}.add")
    await callee.register(fail, f"{name}.fail")
    await callee.register(add, f"{name}.some.", options=RegisterOptions(match="prefix"))
    assert await caller.call(f"{name}.add", 1, 2, 3) == 6
    await caller.call("wamp.reflect.define", f"{name}.add", {"type": "procedure", "call": numbers(2, 2), "result": numbers(1, 1)})
    await caller.call("wamp.reflect.define", f"{name}.some.", {"type": "procedure", "match": "prefix", "call": numbers(1, 1)})
    await caller.call("wamp.reflect.define", f"{name}.error", {"type": "error", "error": numbers(1, 1)})
    seen.clear()
    await breaks(caller.call(f"{name}.add", 1, 2, 3))
    await breaks(caller.call(f"{name}.add", 1, "2"))
    await breaks(caller.call(f"{name}.some.where", "x"))
    assert seen == [], "nobody is invoked"
    assert await caller.call(f"{name}.add", 1, 2) == 3
    assert await caller.call(f"{name}.some.where", 4) == 4
    await breaks(caller.call(f"{name}.add", 5, 6))
    assert seen == [(1, 2), (4,), (5, 6)], seen
    await breaks(caller.call(f"{name}.fail"))
    await breaks(caller.call("test.fixed", "no integer"))
    await fails("wamp.error.no_such_procedure", caller.call("test.fixed", 1))
    # The other node's callers are held to it too, once its log is there.
    await holds_everywhere(callee, name, lambda: callee.call(f"{name}.add", 1))
    for uri, options in ((f"{name}.add", {}), (f"{name}.some.", {"match": "prefix"}), (f"{name}.error", {})):
        assert await caller.call("wamp.reflect.undefine", uri, options) == uri
    assert await caller.call(f"{name}.add", 1, 2, 3) == 6
    await leave(callee)
    await leave(caller)


async def parts(near, far, serializer):
    """a part of a result that breaks its schema ends the call"""
    callee, caller = await join(near, serializer), await join(far, serializer)
    name = f"test.parts.{serializer}"

    async def count(most, details=None):
        for number in range(most):
            details.progress(number if number < 2 else "many")
            await asyncio.sleep(0.01)
        return most

    await callee.register(count, name, options=RegisterOptions(details_arg="details"))
    await caller.call("wamp.reflect.define", name, {"type": "procedure", "progress": numbers(1, 1)})
    got = []
    assert await caller.call(name, 2, options=CallOptions(on_progress=got.append)) == 2
    await breaks(caller.call(name, 5, options=CallOptions(on_progress=got.append)))
    assert got == [0, 1, 0, 1], got
    await caller.call("wamp.reflect.undefine", name)
    await leave(callee)
    await leave(caller)


async def events(near, far, serializer):
    """events are refused with an answer, or dropped"""
    subscriber, publisher = await join(near, serializer), await join(far, serializer)
    topic = f"test.events.{serializer}"
    heard = asyncio.Queue()
    await subscriber.subscribe(lambda *args, **kwargs: heard.put_nowait((args, kwargs)), topic)
    shape = {"args": {"maxItems": 0}, "kwargs": {"required": ["on"], "properties": {"on": {"type": "boolean"}}, "additionalProperties": False}}
    await publisher.call("wamp.reflect.define", topic, {"type": "topic", "event": shape})
    await breaks(publisher.publish(topic, 1, options=ACKNOWLEDGED))
    await breaks(publisher.publish(topic, on="yes", options=ACKNOWLEDGED))
    publisher.publish(topic, off=True)
    await publisher.publish(topic, on=True, options=ACKNOWLEDGED)
    assert await asyncio.wait_for(heard.get(), PATIENCE) == ((), {"on": True})
    assert heard.empty()
    await publisher.call("wamp.reflect.undefine", topic)
    await leave(subscriber)
    await leave(publisher)


async def main(near, far):
    passed = failed = 0
    for serializer in SERIALIZERS:
        for test in (definitions, calls, parts, events):
            try:
                await asyncio.wait_for(test(near, far, serializer), 3 * PATIENCE)
                passed += 1
            except Exception:
                failed += 1
                print(f"{test.__name__} in {serializer}:\n{traceback.format_exc()}", file=sys.stderr)
    print(f"{passed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    sys.exit(min(1, asyncio.run(main(*sys.argv[1:]))))
