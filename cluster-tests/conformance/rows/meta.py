"""The meta API: what the router answers and tells about sessions, registrations and subscriptions, of all nodes."""
import asyncio, random
from datetime import datetime, timezone
from stage import case, settled
from wamplib import *

SESSION, REGISTRATION, SUBSCRIPTION = "wamp.session.", "wamp.registration.", "wamp.subscription."


async def ask(peer, procedure, *args, **kwargs):
    """the first argument of the RESULT, or None"""
    # A node that is slow to answer is named as missing: what it would have said is not wrong, only not there.
    for _ in range(20):
        result = await peer.call(procedure, list(args), kwargs or None)
        if not result[2].get("_missing"):
            return (pl(result)[0] or [None])[0]
        await asyncio.sleep(0.1)
    raise AssertionError("%s: nodes are missing: %r" % (procedure, result))


class Watch:
    """Hears meta events that are about some sessions, in their order."""

    @classmethod
    async def of(cls, peer, *topics):
        self = cls()
        self.peer, self.names = peer, {await peer.subscribe("wamp." + topic): topic for topic in topics}
        return self

    async def next(self, session):
        """(name, args) of the next one about a session"""
        def about(m):
            args = pl(m)[0] if m[0] == EVENT and m[1] in self.names else None
            return args and (args[0]["session"] if isinstance(args[0], dict) else args[0]) == session
        event = await self.peer.expect(about)
        return self.names[event[1]], pl(event)[0]


def recent(text):
    age = datetime.now(timezone.utc) - datetime.fromisoformat(text.replace("Z", "+00:00"))
    assert abs(age.total_seconds()) < 60, text


DETAILS = ("session", "authid", "authrole", "authmethod", "authprovider")

# ---- sessions ----------------------------------------------------------------------------------


@case("session-count-and-list", "feature.session_meta_api meta.session.count meta.session.list rule.meta.everywhere")
async def _(s):
    """sessions of all nodes are counted and listed, all of them or those of some roles"""
    peers = await asyncio.gather(s.join(0), s.join(1, ticket=("lamp", "shines bright")), s.join(2))
    ids = {peer.session for peer in peers}
    asker = peers[2]
    assert ids <= set(await ask(asker, SESSION + "list"))
    assert await ask(asker, SESSION + "count") >= 3
    devices = set(await ask(asker, SESSION + "list", ["device"]))
    assert peers[1].session in devices and not devices & {peers[0].session, asker.session}, devices
    assert ids <= set(await ask(asker, SESSION + "list", ["device", "anonymous"]))
    eq(await ask(asker, SESSION + "count", ["nobody"]), 0)
    eq(await ask(asker, SESSION + "list", ["nobody"]), [])
    assert await ask(asker, SESSION + "count", ["device"]) >= 1


@case("session-get", "feature.session_meta_api meta.session.get uri.no_such_session uri.invalid_argument")
async def _(s):
    """a session's details are told, as in its WELCOME; an unknown one is wamp.error.no_such_session"""
    lamp, asker = await asyncio.gather(s.join(0, ticket=("lamp", "shines bright")), s.join(2))
    details = await ask(asker, SESSION + "get", lamp.session)
    eq({key: details[key] for key in DETAILS}, dict({key: lamp.welcome[key] for key in DETAILS[1:]}, session=lamp.session))
    await raises(asker.call(SESSION + "get", [2 ** 53]), "wamp.error.no_such_session")
    for wrong in ([], ["x"], [0], [1.5], [lamp.session, 1]):
        await raises(asker.call(SESSION + "get", wrong), "wamp.error.invalid_argument")


@case("session-events", "feature.session_meta_api meta.session.on_join meta.session.on_leave rule.meta.same_realm")
async def _(s):
    """joining and leaving is told to subscribers on every node, of that realm alone"""
    watch = await Watch.of(await s.join(2), "session.on_join", "session.on_leave")
    stranger = await s.join(1, realm="table.closed")
    await Watch.of(stranger, "session.on_join", "session.on_leave")
    peer = await s.join(0)
    name, args = await watch.next(peer.session)
    eq((name, len(args)), ("session.on_join", 1))
    eq({key: args[0][key] for key in DETAILS}, dict({key: peer.welcome[key] for key in DETAILS[1:]}, session=peer.session))
    await peer.goodbye()
    eq(await watch.next(peer.session), ("session.on_leave", [peer.session, peer.welcome["authid"], peer.welcome["authrole"]]))
    await settled(stranger)
    told = [pl(m)[0][0] for m in stranger.buf if m[0] == EVENT]
    assert peer.session not in [one["session"] if isinstance(one, dict) else one for one in told], told


@case("session-kill", "feature.session_meta_api meta.session.kill rule.meta.kill_reason rule.meta.kill_own uri.killed uri.no_such_session uri.invalid_uri")
async def _(s):
    """a session is ended with a reason and a message, wamp.close.killed by default; not one's own, not an unknown one"""
    a, b, asker = await s.trio()
    watch = await Watch.of(await s.join(1), "session.on_leave")
    await asker.call(SESSION + "kill", [a.session], {"reason": "table.fired", "message": "clear your desk"})
    goodbye = await a.expect(GOODBYE)
    eq((goodbye[2], goodbye[1].get("message")), ("table.fired", "clear your desk"))
    eq((await watch.next(a.session))[0], "session.on_leave")
    await asker.call(SESSION + "kill", [b.session])
    eq((await b.expect(GOODBYE))[2], "wamp.close.killed")
    for gone in (a.session, asker.session, 2 ** 53):
        await raises(asker.call(SESSION + "kill", [gone]), "wamp.error.no_such_session")
    await raises(asker.call(SESSION + "kill", [2 ** 53], {"reason": "no..uri"}), "wamp.error.invalid_uri")
    await raises(asker.call(SESSION + "get", [a.session]), "wamp.error.no_such_session")


@case("session-kill-by-authid", "feature.session_meta_api meta.session.kill_by_authid rule.meta.kill_own", alone="kill")
async def _(s):
    """all sessions of an authid are ended, but the caller's own; their ids are the answer"""
    victims = await asyncio.gather(*[s.join(node, realm="table.kill", ticket=("guest", "comes and goes")) for node in range(3)])
    asker = await s.join(2, realm="table.kill", ticket=("guest", "comes and goes"))
    other = await s.join(0, realm="table.kill")
    killed = await ask(asker, SESSION + "kill_by_authid", "guest", reason="table.out")
    eq(sorted(killed), sorted(victim.session for victim in victims))
    for victim in victims:
        eq((await victim.expect(GOODBYE))[2], "table.out")
    assert await other.alive() and await asker.alive()
    eq(await ask(asker, SESSION + "kill_by_authid", "nobody"), [])


@case("session-kill-by-authrole", "feature.session_meta_api meta.session.kill_by_authrole rule.meta.kill_count rule.meta.kill_own", alone="kill")
async def _(s):
    """all sessions of a role are ended, but the caller's own; how many is the answer"""
    victims = await asyncio.gather(*[s.join(node, realm="table.kill", ticket=("guest", "comes and goes")) for node in range(3)])
    asker = await s.join(2, realm="table.kill", ticket=("guest", "comes and goes"))
    other = await s.join(1, realm="table.kill")
    eq(await ask(asker, SESSION + "kill_by_authrole", "visitor", message="closing time"), 3)
    for victim in victims:
        goodbye = await victim.expect(GOODBYE)
        eq((goodbye[2], goodbye[1].get("message")), ("wamp.close.killed", "closing time"))
    assert await other.alive() and await asker.alive()


@case("session-kill-all", "feature.session_meta_api meta.session.kill_all rule.meta.kill_all_silent rule.meta.kill_own", alone="kill")
async def _(s):
    """all sessions but the caller's are ended; how many is the answer, and no event and no testament tells of it"""
    victims = await asyncio.gather(*[s.join(node, realm="table.kill") for node in range(3)])
    asker = await s.join(2, realm="table.kill")
    topic = s.uri()
    await victims[0].call(SESSION + "add_testament", [topic, ["will"], {}])
    await asker.subscribe(topic)
    watch = await Watch.of(asker, "session.on_leave")
    eq(await ask(asker, SESSION + "kill_all"), 3)
    for victim in victims:
        eq((await victim.expect(GOODBYE))[2], "wamp.close.killed")
    # Another one's leaving is told behind theirs, so theirs would have come.
    await eventually(lambda: ask(asker, SESSION + "list"), [asker.session])
    last = await s.join(1, realm="table.kill")
    await last.goodbye()
    await watch.next(last.session)
    assert not [m for m in asker.buf if m[0] == EVENT], asker.buf


# ---- testaments --------------------------------------------------------------------------------


async def heir(s, topic):
    peer = await s.join(2)
    await peer.subscribe(topic)
    return peer


async def will(peer, topic, word, options=None, **kwargs):
    if options:
        kwargs["publish_options"] = options
    result = await peer.call(SESSION + "add_testament", [topic, [word], {"of": word}], kwargs)
    eq(pl(result)[0] in ([], [None]), True, "add_testament returns no value: %r" % (result,))


@case("testaments", "feature.testament_meta_api meta.session.add_testament rule.testament.scopes rule.testament.order rule.testament.options")
async def _(s):
    """when a session ends, its testaments are published in order, those of scope detached first, with the options they were given"""
    for how in ("goodbye", "drop"):
        topic = s.uri()
        peer = await heir(s, topic)
        testator = await s.join(0)
        for word, kwargs in (("third", {}), ("first", {"scope": "detached"}), ("fourth", {"scope": "destroyed"}),
                             ("second", {"scope": "detached"})):
            await will(testator, topic, word, **kwargs)
        await will(testator, topic, "hidden", {"exclude": [peer.session]})
        await will(testator, topic, "last")
        await raises(testator.call(SESSION + "add_testament", [topic, [], {}], {"scope": "never"}), "wamp.error.invalid_argument")
        await raises(testator.call(SESSION + "add_testament", ["table..x", [], {}]), "wamp.error.invalid_uri")
        await settled(peer)
        assert not peer.buf, peer.buf
        if how == "goodbye":
            await testator.goodbye()
        else:
            testator.drop()
        for word in ("first", "second", "third", "fourth", "last"):
            eq(pl(await peer.event()), ([word], {"of": word}))


@case("testaments-flushed", "feature.testament_meta_api meta.session.flush_testaments rule.testament.scopes")
async def _(s):
    """flushing takes back the testaments of one scope, destroyed by default"""
    topic = s.uri()
    peer, testator = await heir(s, topic), await s.join(0)
    await will(testator, topic, "destroyed")
    await will(testator, topic, "detached", scope="detached")
    eq(pl(await testator.call(SESSION + "flush_testaments"))[0] in ([], [None]), True)
    await testator.goodbye()
    eq(pl(await peer.event())[0], ["detached"])
    testator = await s.join(0)
    await will(testator, topic, "detached", scope="detached")
    await will(testator, topic, "destroyed again")
    await testator.call(SESSION + "flush_testaments", [], {"scope": "detached"})
    await testator.goodbye()
    eq(pl(await peer.event())[0], ["destroyed again"])


# ---- registrations -----------------------------------------------------------------------------


@case("registration-list", "feature.registration_meta_api meta.registration.list rule.meta.everywhere")
async def _(s):
    """registrations of all nodes are listed by match policy"""
    peers, uri = await s.trio(), s.uri()
    ids = [await peer.register(uri + (".x" if policy != "wildcard" else "..x"), match=policy)
           for peer, policy in zip(peers, ("exact", "prefix", "wildcard"))]
    lists = await ask(peers[2], REGISTRATION + "list")
    eq(sorted(lists), ["exact", "prefix", "wildcard"])
    for policy, id in zip(("exact", "prefix", "wildcard"), ids):
        eq([name for name in lists if id in lists[name]], [policy])


@case("lists-of-one-session", "meta.registration.list meta.registration.list.session_id meta.subscription.list meta.subscription.list.session_id")
async def _(s):
    """a list can be narrowed to what one session has, on whatever node it is"""
    peers, asker = await s.trio(), await s.join(2)
    uri = s.uri()
    for peer in peers:
        await peer.register(uri, invoke="first")
    for family, has in ((REGISTRATION, Peer.register), (SUBSCRIPTION, Peer.subscribe)):
        ids = [await has(peer, s.uri()) for peer in peers]
        for peer, id in zip(peers, ids):
            lists = pl(await asker.call(family + "list", [peer.session]))[0][0]
            assert id in lists["exact"] and not (set(ids) - {id}) & set(lists["exact"]), (ids, lists)
            eq(len(lists["exact"]), 2 if family == REGISTRATION else 1)
            eq(pl(await asker.call(family + "list", [], {"session_id": peer.session}))[0][0], lists)
        eq(await ask(asker, family + "list", 2 ** 53), {"exact": [], "prefix": [], "wildcard": []})
        await raises(asker.call(family + "list", ["x"]), "wamp.error.invalid_argument")


@case("registration-lookup", "feature.registration_meta_api meta.registration.lookup")
async def _(s):
    """lookup finds a registration by its own URI and match policy, else null"""
    callee, asker = await s.both()
    uri = s.uri()
    exact, prefix = await callee.register(uri), await callee.register(uri, match="prefix")
    eq(await ask(asker, REGISTRATION + "lookup", uri), exact)
    eq(await ask(asker, REGISTRATION + "lookup", uri, {"match": "exact"}), exact)
    eq(await ask(asker, REGISTRATION + "lookup", uri, {"match": "prefix"}), prefix)
    eq(await ask(asker, REGISTRATION + "lookup", uri, {"match": "wildcard"}), None)
    eq(await ask(asker, REGISTRATION + "lookup", uri + ".x", {"match": "prefix"}), None)


@case("registration-match", "feature.registration_meta_api meta.registration.match")
async def _(s):
    """match finds the registration that a call would go to, else null"""
    callee, asker = await s.both()
    uri = s.uri()
    exact, prefix = await callee.register(uri + ".x"), await callee.register(uri, match="prefix")
    eq(await ask(asker, REGISTRATION + "match", uri + ".x"), exact)
    eq(await ask(asker, REGISTRATION + "match", uri + ".y"), prefix)
    eq(await ask(asker, REGISTRATION + "match", s.uri("z")), None)


@case("registration-get", "feature.registration_meta_api meta.registration.get uri.no_such_registration")
async def _(s):
    """a registration's details: id, time of creation, URI, match and invocation policy"""
    callee, asker = await s.both()
    uri = s.uri()
    id = await callee.register(uri, match="prefix", invoke="last")
    details = await ask(asker, REGISTRATION + "get", id)
    eq([details[key] for key in ("id", "uri", "match", "invoke")], [id, uri, "prefix", "last"])
    recent(details["created"])
    await raises(asker.call(REGISTRATION + "get", [2 ** 53]), "wamp.error.no_such_registration")


@case("registration-callees", "feature.registration_meta_api meta.registration.list_callees meta.registration.count_callees "
      "uri.no_such_registration rule.policy.order rule.meta.everywhere")
async def _(s):
    """the callees of all nodes in the order in which they registered, and their number"""
    peers, uri = await s.trio(), s.uri()
    for peer in (peers[2], peers[0], peers[1]):
        id = await peer.register(uri, invoke="roundrobin")
    expected = [peers[n].session for n in (2, 0, 1)]
    for asker in peers:
        eq(await ask(asker, REGISTRATION + "list_callees", id), expected)
        eq(await ask(asker, REGISTRATION + "count_callees", id), 3)
    for procedure in ("list_callees", "count_callees"):
        await raises(peers[0].call(REGISTRATION + procedure, [2 ** 53]), "wamp.error.no_such_registration")


ABOUT_REGISTRATIONS = ["registration." + name for name in ("on_create", "on_register", "on_unregister", "on_delete")]


@case("registration-events", "feature.registration_meta_api meta.registration.on_create meta.registration.on_register "
      "meta.registration.on_unregister meta.registration.on_delete rule.meta.event_order")
async def _(s):
    """created before registered, unregistered before deleted; created and deleted only with the first and the last callee"""
    a, b, asker = await s.trio()
    watch = await Watch.of(asker, *ABOUT_REGISTRATIONS)
    uri = s.uri()
    id = await a.register(uri, invoke="first")
    name, args = await watch.next(a.session)
    eq((name, [args[1][key] for key in ("id", "uri", "match", "invoke")]), ("registration.on_create", [id, uri, "exact", "first"]))
    recent(args[1]["created"])
    eq(await watch.next(a.session), ("registration.on_register", [a.session, id]))
    await b.register(uri, invoke="first")
    eq(await watch.next(b.session), ("registration.on_register", [b.session, id]))
    await a.unregister(id)
    eq(await watch.next(a.session), ("registration.on_unregister", [a.session, id]))
    await b.goodbye()
    eq(await watch.next(b.session), ("registration.on_unregister", [b.session, id]))
    eq(await watch.next(b.session), ("registration.on_delete", [b.session, id]))


@case("remove-callee", "meta.registration.remove_callee rule.rpc.revocation unregistered.registration unregistered.reason "
      "feature.registration_revocation")
async def _(s):
    """a callee is taken off a registration and told why"""
    a, b, asker = await s.trio()
    uri = s.uri()
    for peer in (a, b):
        id = await peer.register(uri, invoke="first")
    # Removing goes by what the asker's node has applied and, unlike the other procedures, does not wait for the log.
    eq(await ask(asker, REGISTRATION + "list_callees", id), [a.session, b.session])
    await asker.call(REGISTRATION + "remove_callee", [id, a.session], {"reason": "table.why"})
    told = await a.expect(UNREGISTERED)
    eq((told[1], told[2].get("registration"), told[2].get("reason")), (0, id, "table.why"))
    eq(await ask(asker, REGISTRATION + "list_callees", id), [b.session])
    await raises(asker.call(REGISTRATION + "remove_callee", [2 ** 53, a.session]), "wamp.error.no_such_registration")


# ---- subscriptions -----------------------------------------------------------------------------


@case("subscription-list", "feature.subscription_meta_api meta.subscription.list rule.meta.everywhere")
async def _(s):
    """subscriptions of all nodes are listed by match policy"""
    peers, uri = await s.trio(), s.uri()
    ids = [await peer.subscribe(uri + (".x" if policy != "wildcard" else "..x"), match=policy)
           for peer, policy in zip(peers, ("exact", "prefix", "wildcard"))]
    lists = await ask(peers[2], SUBSCRIPTION + "list")
    eq(sorted(lists), ["exact", "prefix", "wildcard"])
    for policy, id in zip(("exact", "prefix", "wildcard"), ids):
        eq([name for name in lists if id in lists[name]], [policy])


@case("subscription-lookup", "feature.subscription_meta_api meta.subscription.lookup")
async def _(s):
    """lookup finds a subscription by its own URI and match policy, else null"""
    a, asker = await s.both()
    uri = s.uri()
    exact, prefix = await a.subscribe(uri), await a.subscribe(uri, match="prefix")
    eq(await ask(asker, SUBSCRIPTION + "lookup", uri), exact)
    eq(await ask(asker, SUBSCRIPTION + "lookup", uri, {"match": "prefix"}), prefix)
    eq(await ask(asker, SUBSCRIPTION + "lookup", uri, {"match": "wildcard"}), None)


@case("subscription-match", "feature.subscription_meta_api meta.subscription.match")
async def _(s):
    """match finds all subscriptions that an event goes to, else null"""
    a, b, asker = await s.trio()
    uri = s.uri()
    ids = [await a.subscribe(uri + ".x"), await b.subscribe(uri, match="prefix")]
    eq(sorted(await ask(asker, SUBSCRIPTION + "match", uri + ".x")), sorted(ids))
    eq(await ask(asker, SUBSCRIPTION + "match", uri + ".y"), ids[1:])
    eq(await ask(asker, SUBSCRIPTION + "match", s.uri("z")), None)


@case("subscription-get", "feature.subscription_meta_api meta.subscription.get uri.no_such_subscription")
async def _(s):
    """a subscription's details: id, time of creation, URI and match policy"""
    a, asker = await s.both()
    uri = s.uri()
    id = await a.subscribe(uri, match="prefix")
    details = await ask(asker, SUBSCRIPTION + "get", id)
    eq([details[key] for key in ("id", "uri", "match")], [id, uri, "prefix"])
    recent(details["created"])
    await raises(asker.call(SUBSCRIPTION + "get", [2 ** 53]), "wamp.error.no_such_subscription")


@case("subscription-subscribers", "feature.subscription_meta_api meta.subscription.list_subscribers meta.subscription.count_subscribers "
      "uri.no_such_subscription rule.meta.everywhere")
async def _(s):
    """the subscribers of all nodes, and their number"""
    peers, uri = await s.trio(), s.uri()
    for peer in peers:
        id = await peer.subscribe(uri)
    for asker in peers:
        eq(sorted(await ask(asker, SUBSCRIPTION + "list_subscribers", id)), sorted(peer.session for peer in peers))
        eq(await ask(asker, SUBSCRIPTION + "count_subscribers", id), 3)
    for procedure in ("list_subscribers", "count_subscribers"):
        await raises(peers[0].call(SUBSCRIPTION + procedure, [2 ** 53]), "wamp.error.no_such_subscription")


ABOUT_SUBSCRIPTIONS = ["subscription." + name for name in ("on_create", "on_subscribe", "on_unsubscribe", "on_delete")]


@case("subscription-events", "feature.subscription_meta_api meta.subscription.on_create meta.subscription.on_subscribe "
      "meta.subscription.on_unsubscribe meta.subscription.on_delete rule.meta.event_order rule.subscribe.idempotent rule.meta.own_topics")
async def _(s):
    """created before subscribed, unsubscribed before deleted; subscribing again and subscribing to meta topics tells nothing"""
    a, b, asker = await s.trio()
    watch = await Watch.of(asker, *ABOUT_SUBSCRIPTIONS)
    uri = s.uri()
    id = await a.subscribe(uri)
    name, args = await watch.next(a.session)
    eq((name, [args[1][key] for key in ("id", "uri", "match")]), ("subscription.on_create", [id, uri, "exact"]))
    recent(args[1]["created"])
    eq(await watch.next(a.session), ("subscription.on_subscribe", [a.session, id]))
    # Neither is told of.
    await a.subscribe(uri)
    await b.subscribe("wamp.session.on_join")
    await b.subscribe(uri)
    eq(await watch.next(b.session), ("subscription.on_subscribe", [b.session, id]))
    await a.unsubscribe(id)
    eq(await watch.next(a.session), ("subscription.on_unsubscribe", [a.session, id]))
    await b.goodbye()
    eq(await watch.next(b.session), ("subscription.on_unsubscribe", [b.session, id]))
    eq(await watch.next(b.session), ("subscription.on_delete", [b.session, id]))
