#!/usr/bin/env python3
"""autobahn-python against the meta API of a router: every procedure, and every event as a watcher on another node hears it.

    meta.py NEAR_URL FAR_URL      the sessions that are asked about sit on the first URL, the one that asks and watches on the second

Last line: `N passed, M failed`.
"""
import asyncio
import logging
import sys
import traceback
from datetime import datetime

import txaio

txaio.use_asyncio()

from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import RegisterOptions, SubscribeOptions

from autobahn_python import PATIENCE, SERIALIZERS, leave
from autobahn_python import join as join_session

EVENTS = [
    "wamp.session.on_join", "wamp.session.on_leave",
    "wamp.registration.on_create", "wamp.registration.on_register", "wamp.registration.on_unregister", "wamp.registration.on_delete",
    "wamp.subscription.on_create", "wamp.subscription.on_subscribe", "wamp.subscription.on_unsubscribe", "wamp.subscription.on_delete",
]


async def fails(error, call):
    try:
        result = await call
    except ApplicationError as e:
        assert e.error == error, e
    else:
        raise AssertionError(f"{error} was expected, not {result!r}")


async def until(holds, session, *call):
    """Asks until no node's part is missing: a node that takes longer than 250 ms is named in RESULT.Details, which Autobahn hides."""
    for _ in range(20):
        result = await session.call(*call)
        if holds(result):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{call[0]}: {result}")


class Watcher:
    """Hears all meta events, in their order."""

    def __init__(self, session):
        self.session, self.events, self.skipped = session, asyncio.Queue(), []

    async def start(self):
        for topic in EVENTS:
            await self.session.subscribe(self.handler(topic), topic)

    def handler(self, topic):
        name = topic.removeprefix("wamp.")
        return lambda *args: self.events.put_nowait((name, args))

    async def next(self, name, about, thing=None):
        """The next event of that family about that session, and about that subscription or registration.

        Others are skipped, and those that came in between are there for later: what happens on two nodes has no order.
        """
        for at, (got, args) in enumerate(self.skipped):
            if thing is not None and got == name and self.about(args) == (about, thing):
                del self.skipped[at]
                return args
        while True:
            got, args = await asyncio.wait_for(self.events.get(), PATIENCE)
            session, subject = self.about(args)
            same = session == about and got.split(".")[0] == name.split(".")[0]
            if not same or (thing is not None and (got, subject) != (name, thing)):
                self.skipped.append((got, args))
                continue
            assert got == name, f"{got}{args} instead of {name}"
            return args

    @staticmethod
    def about(args):
        """The session that an event names, and the subscription or registration, if there is one."""
        session = args[0]["session"] if isinstance(args[0], dict) else args[0]
        subject = args[1] if len(args) > 1 else None
        return session, subject["id"] if isinstance(subject, dict) else subject


async def join(url, serializer):
    session = await join_session(url, serializer)
    # Autobahn forgets it when the session ends.
    session.own_id = session._session_id
    return session


def id_of(session):
    return session.own_id


async def sessions(near, far, serializer):
    """count, list, get, the kill family, on_join and on_leave"""
    asker = await join(far, serializer)
    watcher = Watcher(asker)
    await watcher.start()
    a, b, c = [await join(near, serializer) for _ in range(3)]
    # No pause: whoever has its WELCOME counts. Others may come and go, such as the lamp of the demo.
    everybody = {id_of(s) for s in (asker, a, b, c)}
    await until(lambda listed: everybody <= set(listed), asker, "wamp.session.list")
    await until(lambda count: count >= 4, asker, "wamp.session.count")
    details = await asker.call("wamp.session.get", id_of(a))
    assert details["session"] == id_of(a) and details["authmethod"] == "anonymous", details
    role, authid = details["authrole"], details["authid"]
    await until(lambda count: count >= 4, asker, "wamp.session.count", [role])
    assert await asker.call("wamp.session.count", ["nobody.has.this.role"]) == 0
    assert await asker.call("wamp.session.list", ["nobody.has.this.role"]) == []
    for session in (a, b, c):
        (joined,) = await watcher.next("session.on_join", id_of(session))
        assert set(joined) >= {"session", "authid", "authrole", "authmethod", "authprovider"}, joined

    await asker.call("wamp.session.kill", id_of(a), reason="com.test.fired", message="clear your desk")
    await asyncio.wait_for(a.gone, PATIENCE)
    assert (a.left.reason, a.left.message) == ("com.test.fired", "clear your desk"), a.left
    await fails("wamp.error.no_such_session", asker.call("wamp.session.get", id_of(a)))
    await fails("wamp.error.no_such_session", asker.call("wamp.session.kill", id_of(a)))
    await fails("wamp.error.no_such_session", asker.call("wamp.session.kill", id_of(asker)))
    await fails("wamp.error.invalid_uri", asker.call("wamp.session.kill", id_of(b), reason="no..uri"))
    await fails("wamp.error.invalid_argument", asker.call("wamp.session.kill", "b"))
    assert await watcher.next("session.on_leave", id_of(a)) == (id_of(a), authid, role)

    other = (await asker.call("wamp.session.get", id_of(b)))["authid"]
    own = (await asker.call("wamp.session.get", id_of(asker)))["authid"]
    killed = await asker.call("wamp.session.kill_by_authid", other)
    assert id_of(b) in killed and id_of(asker) not in killed, killed
    await asyncio.wait_for(b.gone, PATIENCE)
    assert b.left.reason == "wamp.close.killed", b.left
    assert (await watcher.next("session.on_leave", id_of(b)))[0] == id_of(b)
    assert own
    if not c.gone.done():
        await asker.call("wamp.session.kill_by_authrole", role)
    await asyncio.wait_for(c.gone, PATIENCE)
    d = await join(near, serializer)
    assert await asker.call("wamp.session.kill_all") >= 1
    await asyncio.wait_for(d.gone, PATIENCE)
    await until(lambda listed: id_of(d) not in listed and id_of(asker) in listed, asker, "wamp.session.list")
    await leave(asker)


async def registrations(near, far, serializer):
    """list, lookup, match, get, list_callees, count_callees and the four events"""
    asker, callee, second = await join(far, serializer), await join(near, serializer), await join(far, serializer)
    watcher = Watcher(asker)
    await watcher.start()
    shared = RegisterOptions(invoke="roundrobin")
    first = await callee.register(lambda: 1, "test.meta.shared", options=shared)
    prefix = await callee.register(lambda: 2, "test.meta.tree", options=RegisterOptions(match="prefix"))
    again = await second.register(lambda: 3, "test.meta.shared", options=shared)
    assert first.id == again.id
    lists = await asker.call("wamp.registration.list")
    assert first.id in lists["exact"] and prefix.id in lists["prefix"] and lists["wildcard"] == [], lists
    assert await asker.call("wamp.registration.lookup", "test.meta.shared") == first.id
    assert await asker.call("wamp.registration.lookup", "test.meta.tree") is None
    assert await asker.call("wamp.registration.lookup", "test.meta.tree", {"match": "prefix"}) == prefix.id
    assert await asker.call("wamp.registration.match", "test.meta.tree.leaf") == prefix.id
    assert await asker.call("wamp.registration.match", "test.other") is None
    details = await asker.call("wamp.registration.get", first.id)
    assert (details["id"], details["uri"], details["match"], details["invoke"]) == (first.id, "test.meta.shared", "exact", "roundrobin")
    age = datetime.now().timestamp() - datetime.fromisoformat(details["created"].replace("Z", "+00:00")).timestamp()
    assert -5 < age < 60, details
    assert await asker.call("wamp.registration.list_callees", first.id) == [id_of(callee), id_of(second)]
    assert await asker.call("wamp.registration.count_callees", first.id) == 2
    for procedure in ["get", "list_callees", "count_callees"]:
        await fails("wamp.error.no_such_registration", asker.call(f"wamp.registration.{procedure}", 2**53))
    created = await watcher.next("registration.on_create", id_of(callee))
    assert created[1]["id"] == first.id, created
    assert await watcher.next("registration.on_register", id_of(callee)) == (id_of(callee), first.id)
    await watcher.next("registration.on_create", id_of(callee))
    await watcher.next("registration.on_register", id_of(callee))
    assert await watcher.next("registration.on_register", id_of(second)) == (id_of(second), first.id)
    await first.unregister()
    assert await watcher.next("registration.on_unregister", id_of(callee)) == (id_of(callee), first.id)
    await leave(second)
    assert await watcher.next("registration.on_unregister", id_of(second)) == (id_of(second), first.id)
    assert await watcher.next("registration.on_delete", id_of(second)) == (id_of(second), first.id)
    await fails("wamp.error.no_such_registration", asker.call("wamp.registration.get", first.id))
    await leave(callee)
    await leave(asker)


async def subscriptions(near, far, serializer):
    """list, lookup, match, get, list_subscribers, count_subscribers and the four events"""
    asker, one, two = await join(far, serializer), await join(near, serializer), await join(far, serializer)
    watcher = Watcher(asker)
    await watcher.start()
    exact = await one.subscribe(lambda: None, "test.meta.news.today")
    prefix = await two.subscribe(lambda: None, "test.meta.news", options=SubscribeOptions(match="prefix"))
    both = await two.subscribe(lambda: None, "test.meta.news.today")
    assert exact.id == both.id
    lists = await asker.call("wamp.subscription.list")
    assert exact.id in lists["exact"] and lists["prefix"] == [prefix.id] and lists["wildcard"] == [], lists
    assert await asker.call("wamp.subscription.lookup", "test.meta.news.today") == exact.id
    assert await asker.call("wamp.subscription.lookup", "test.meta.news") is None
    assert await asker.call("wamp.subscription.lookup", "test.meta.news", {"match": "prefix"}) == prefix.id
    assert sorted(await asker.call("wamp.subscription.match", "test.meta.news.today")) == sorted([exact.id, prefix.id])
    assert await asker.call("wamp.subscription.match", "test.meta.weather") is None
    details = await asker.call("wamp.subscription.get", exact.id)
    assert (details["id"], details["uri"], details["match"]) == (exact.id, "test.meta.news.today", "exact"), details
    age = datetime.now().timestamp() - datetime.fromisoformat(details["created"].replace("Z", "+00:00")).timestamp()
    assert -5 < age < 60, details
    assert sorted(await asker.call("wamp.subscription.list_subscribers", exact.id)) == sorted([id_of(one), id_of(two)])
    assert await asker.call("wamp.subscription.count_subscribers", exact.id) == 2
    await fails("wamp.error.no_such_subscription", asker.call("wamp.subscription.get", 2**53))
    assert (await watcher.next("subscription.on_create", id_of(one), exact.id))[1]["id"] == exact.id
    assert await watcher.next("subscription.on_subscribe", id_of(one), exact.id) == (id_of(one), exact.id)
    assert (await watcher.next("subscription.on_create", id_of(two), prefix.id))[1]["id"] == prefix.id
    assert await watcher.next("subscription.on_subscribe", id_of(two), prefix.id) == (id_of(two), prefix.id)
    await both.unsubscribe()
    assert await watcher.next("subscription.on_unsubscribe", id_of(two), exact.id) == (id_of(two), exact.id)
    await leave(one)
    assert await watcher.next("subscription.on_unsubscribe", id_of(one), exact.id) == (id_of(one), exact.id)
    assert await watcher.next("subscription.on_delete", id_of(one), exact.id) == (id_of(one), exact.id)
    await fails("wamp.error.no_such_subscription", asker.call("wamp.subscription.get", exact.id))
    await leave(two)
    await leave(asker)


async def testaments(near, far, serializer):
    """add and flush in both scopes, and what is published when the session ends or its transport is cut"""
    heir, testator = await join(far, serializer), await join(near, serializer)
    heard = asyncio.Queue()
    await heir.subscribe(lambda word, **kwargs: heard.put_nowait((word, kwargs)), "test.meta.will")

    async def add(word, **kwargs):
        assert await testator.call("wamp.session.add_testament", "test.meta.will", [word], {"of": word}, **kwargs) is None

    await add("dropped")
    assert await testator.call("wamp.session.flush_testaments") is None
    await add("second")
    await add("first", scope="detached")
    await add("hidden", publish_options={"exclude": [id_of(heir)]})
    await fails("wamp.error.invalid_argument", testator.call("wamp.session.add_testament", "test.meta.will", [], {}, scope="never"))
    testator._transport.abort() if hasattr(testator._transport, "abort") else testator._transport.close()
    for word in ["first", "second"]:
        assert await asyncio.wait_for(heard.get(), PATIENCE) == (word, {"of": word})
    await asyncio.sleep(0.2)
    assert heard.empty(), heard.get_nowait()
    await leave(heir)


async def clear(url, serializer):
    """Ends what a test that failed has left."""
    session = await join(url, serializer)
    await session.call("wamp.session.kill_all")
    await leave(session)


async def main(near, far):
    passed = failed = 0
    for serializer in SERIALIZERS:
        for test in (sessions, registrations, subscriptions, testaments):
            try:
                await test(near, far, serializer)
                passed += 1
            except Exception:
                failed += 1
                await clear(far, serializer)
                print(f"{test.__name__} in {serializer}:\n{traceback.format_exc()}", file=sys.stderr)
    print(f"{passed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    sys.exit(min(1, asyncio.run(main(*sys.argv[1:]))))
