"""Publications: who gets them, what they are told, in which order."""
import asyncio
from stage import ROLES, case, firsts, settled, until, without
from wamplib import *

LAMP, DOOR = ("lamp", "shines bright"), ("door", "opens quietly")


@case("subscribe-exact", "subscribe.match rule.match.exact event.topic")
async def _(s):
    """an exact subscription takes events of that topic alone, and its EVENT does not name it"""
    a, b = await s.both()
    uri = s.uri("news")
    subscription = await a.subscribe(uri)
    for n, topic in enumerate((uri + ".more", uri[:-1], uri + "x", uri)):
        await b.publish(topic, [n])
    event = await a.event()
    eq((event[1], pl(event)[0]), (subscription, [3]))
    assert "topic" not in event[3], event


@case("subscribe-prefix", "feature.pattern_based_subscription subscribe.match rule.match.prefix event.topic")
async def _(s):
    """a prefix is compared by characters, and the EVENT names its topic"""
    a, b = await s.both()
    uri = s.uri("news")
    await a.subscribe(uri, match="prefix")
    topics = [uri + ".b.c", uri, uri + "-x"]
    for topic in [uri[:-1], "x" + uri] + topics:
        await b.publish(topic, [topic])
    for topic in topics:
        event = await a.event()
        eq((event[3].get("topic"), pl(event)[0]), (topic, [topic]))


@case("subscribe-wildcard", "feature.pattern_based_subscription subscribe.match rule.match.wildcard event.topic")
async def _(s):
    """an empty component of a wildcard pattern stands for exactly one, and the EVENT names its topic"""
    a, b = await s.both()
    uri = s.uri()
    await a.subscribe(uri + "..c.", match="wildcard")
    topics = [uri + ".b.c.d", uri + ".x.c.y"]
    for topic in [uri + ".c.d", uri + ".b.c", uri + ".b.x.d", uri + ".b.c.d.e", uri + ".a.b.c.d"] + topics:
        await b.publish(topic, [topic])
    for topic in topics:
        event = await a.event()
        eq((event[3].get("topic"), pl(event)[0]), (topic, [topic]))


@case("one-event-per-subscription", "rule.event.per_subscription rule.event.once feature.pattern_based_subscription")
async def _(s):
    """one EVENT for each matching subscription of a session, with one publication id"""
    a, b = await s.both()
    uri = s.uri("p.q")
    subscriptions = [await a.subscribe(uri), await a.subscribe(uri[:-2], match="prefix"),
                     await a.subscribe(uri[:-3] + ".q", match="wildcard"), await a.subscribe(uri[:-1], match="prefix")]
    again = await a.subscribe(uri)
    publication = await b.publish(uri, [1])
    events = [await a.event() for _ in range(4)]
    eq(sorted(event[1] for event in events), sorted(subscriptions))
    eq({event[2] for event in events}, {publication})
    eq(again, subscriptions[0])
    await b.publish(uri, [2])
    eq(pl(await a.event())[0], [2])


@case("shared-subscription-id", "rule.subscription.shared_id rule.subscribe.idempotent")
async def _(s):
    """subscribers of one topic share its id on every node, another match policy has another; subscribing again gives the same"""
    peers = await s.trio()
    uri = s.uri()
    ids = {await peer.subscribe(uri) for peer in peers} | {await peers[0].subscribe(uri)}
    eq(len(ids), 1)
    assert await peers[1].subscribe(uri, match="prefix") not in ids


@case("unsubscribe", "rule.unsubscribe uri.no_such_subscription")
async def _(s):
    """after UNSUBSCRIBED no EVENT comes; the subscription is no longer one"""
    a, b = await s.both()
    uri, end = s.uri(), s.uri("end")
    subscription = await a.subscribe(uri)
    await a.subscribe(end)
    await a.unsubscribe(subscription)
    await b.publish(uri, [1])
    await b.publish(end, ["end"])
    eq(await until(a, "end"), [])
    await raises(a.unsubscribe(subscription), "wamp.error.no_such_subscription")
    await raises(b.unsubscribe(subscription), "wamp.error.no_such_subscription")
    await raises(b.unsubscribe(2 ** 53), "wamp.error.no_such_subscription")


@case("acknowledge", "publish.acknowledge rule.publish.nobody rule.publish.silent uri.invalid_uri")
async def _(s):
    """PUBLISHED or ERROR where acknowledge asks for it, silence otherwise; nobody needs to listen"""
    a = await s.join(2)
    assert 1 <= await a.publish(s.uri(), [1]) <= MAXID
    await raises(a.publish("table..x", [1]), "wamp.error.invalid_uri")
    await raises(a.publish("wamp.table.x", [1]), "wamp.error.invalid_uri")
    await a.publish(s.uri(), [1], ack=False)
    await a.publish("table..x", [1], ack=False)
    await settled(a)
    assert not a.buf, a.buf


@case("invalid-uris", "uri.invalid_uri")
async def _(s):
    """malformed and reserved URIs are refused in every request"""
    a = await s.join(2)
    for uri in ("table..x", "table.x y", ".table", "table#x", ""):
        await raises(a.subscribe(uri), "wamp.error.invalid_uri")
        await raises(a.register(uri), "wamp.error.invalid_uri")
        await raises(a.call(uri), "wamp.error.invalid_uri")
        await raises(a.publish(uri), "wamp.error.invalid_uri")
    await raises(a.register("wamp.session.count"), "wamp.error.invalid_uri")
    await raises(a.subscribe("table..x", match="prefix"), "wamp.error.invalid_uri")


@case("publisher-exclusion", "feature.publisher_exclusion publish.exclude_me rule.publish.excludes_publisher")
async def _(s):
    """a publisher gets its own event only with exclude_me false"""
    a, b = await s.both()
    uri = s.uri()
    for peer in (a, b):
        await peer.subscribe(uri)
    for n, options in enumerate(({}, {"exclude_me": True}, {"exclude_me": False})):
        await b.publish(uri, [n], **options)
    await b.publish(uri, ["end"], exclude_me=False)
    eq(firsts(await until(b, "end")), [2])
    eq(firsts(await until(a, "end")), [0, 1, 2])


async def hearers(s):
    """anonymous, lamp (role device) and door (role portal), on three nodes, subscribed to a topic; and a publisher"""
    peers = await asyncio.gather(s.join(0), s.join(1, ticket=LAMP), s.join(2, ticket=DOOR))
    uri = s.uri()
    for peer in peers:
        await peer.subscribe(uri)
    return peers, await s.join(2), uri


async def reach(peers, publisher, uri, cases):
    """publishes once per case and checks which of the peers get it"""
    for n, (options, _) in enumerate(cases):
        await publisher.publish(uri, [n], **options)
    await publisher.publish(uri, ["end"])
    for place, peer in enumerate(peers):
        expected = [n for n, (_, places) in enumerate(cases) if place in places]
        eq(firsts(await until(peer, "end")), expected, "what subscriber %d got of %r" % (place, cases))


LISTING = "feature.subscriber_blackwhite_listing"


@case("lists-of-sessions", LISTING + " publish.exclude publish.eligible rule.lists.empty_eligible")
async def _(s):
    """exclude and eligible name sessions; an empty eligible list means nobody"""
    peers, publisher, uri = await hearers(s)
    ids = [peer.session for peer in peers]
    await reach(peers, publisher, uri, [
        ({"exclude": [ids[0]]}, {1, 2}), ({"exclude": ids[1:]}, {0}), ({"exclude": []}, {0, 1, 2}), ({"eligible": [ids[1]]}, {1}),
        ({"eligible": ids[:2]}, {0, 1}), ({"eligible": []}, set()), ({"eligible": [2 ** 53]}, set())])


@case("lists-of-authids", LISTING + " publish.exclude_authid publish.eligible_authid rule.lists.empty_eligible")
async def _(s):
    """exclude_authid and eligible_authid name who a session is"""
    peers, publisher, uri = await hearers(s)
    await reach(peers, publisher, uri, [
        ({"exclude_authid": ["lamp"]}, {0, 2}), ({"exclude_authid": ["lamp", "door"]}, {0}), ({"eligible_authid": ["lamp"]}, {1}),
        ({"eligible_authid": ["lamp", "door"]}, {1, 2}), ({"eligible_authid": []}, set()), ({"exclude_authid": []}, {0, 1, 2})])


@case("lists-of-authroles", LISTING + " publish.exclude_authrole publish.eligible_authrole rule.lists.empty_eligible")
async def _(s):
    """exclude_authrole and eligible_authrole name roles"""
    peers, publisher, uri = await hearers(s)
    await reach(peers, publisher, uri, [
        ({"exclude_authrole": ["device"]}, {0, 2}), ({"eligible_authrole": ["device", "portal"]}, {1, 2}),
        ({"eligible_authrole": ["anonymous"]}, {0}), ({"eligible_authrole": []}, set()), ({"exclude_authrole": ["nobody"]}, {0, 1, 2})])


@case("lists-together", LISTING + " rule.lists.anded")
async def _(s):
    """all lists that are given must let a subscriber through"""
    peers, publisher, uri = await hearers(s)
    ids = [peer.session for peer in peers]
    await reach(peers, publisher, uri, [
        ({"eligible": ids, "exclude_authid": ["lamp"]}, {0, 2}), ({"eligible_authrole": ["device"], "exclude": [ids[1]]}, set()),
        ({"eligible_authid": ["lamp", "door"], "eligible_authrole": ["portal"]}, {2}),
        ({"eligible": ids[:2], "eligible_authid": ["lamp", "door"], "exclude_authrole": ["portal"]}, {1})])


@case("publisher-disclosed", "feature.publisher_identification publish.disclose_me event.publisher event.publisher_authid event.publisher_authrole")
async def _(s):
    """a publisher is named where it asks for it, and not where it does not"""
    a, b = await asyncio.gather(s.join(0), s.join(2, ticket=LAMP))
    uri = s.uri()
    await a.subscribe(uri)
    await b.publish(uri, [1])
    await b.publish(uri, [2], disclose_me=True)
    keys = ("publisher", "publisher_authid", "publisher_authrole")
    first, second = await a.event(), await a.event()
    assert not set(keys) & set(first[3]), first
    eq([second[3].get(key) for key in keys], [b.session, "lamp", "device"])


@case("event-trustlevel", "feature.publication_trustlevels event.trustlevel rule.pubsub.trustlevel")
async def _(s):
    """EVENT tells how far the publisher is trusted, as the configuration says of its role"""
    a, b, lamp = await asyncio.gather(s.join(0), s.join(2), s.join(1, ticket=LAMP))
    uri = s.uri()
    await a.subscribe(uri)
    await b.publish(uri, [1])
    eq((await a.event())[3].get("trustlevel"), 3)
    await lamp.publish(uri, [1])
    eq((await a.event())[3].get("trustlevel"), 7)


@case("order-of-events", "rule.order.events")
async def _(s):
    """events of one publisher keep their order over topics, patterns and sizes"""
    a, b = await s.both()
    uri = s.uri()
    await a.subscribe(uri, match="prefix")
    for n in range(150):
        await b.publish(uri + (".a" if n % 2 else ".b"), [n, "x" * (5000 if n % 7 == 0 else 1)], ack=n % 10 == 0)
    eq([pl(await a.event())[0][0] for _ in range(150)], list(range(150)))


@case("subscribed-before-event", "rule.order.subscribed_first")
async def _(s):
    """while another one publishes without pause, SUBSCRIBED comes before the first EVENT"""
    a, b = await s.both()
    for _ in range(4):
        uri, publishing = s.uri(), True

        async def publish():
            while publishing:
                await b.publish(uri, [1], ack=False)
                await asyncio.sleep(0.001)
        task = asyncio.create_task(publish())
        try:
            await asyncio.sleep(0.01)
            request = a.nid()
            await a.send([SUBSCRIBE, request, {}, uri])
            subscribed = await a.recv()
            eq(subscribed[:2], [SUBSCRIBED, request], "the first message")
            eq((await a.event())[1], subscribed[2])
        finally:
            publishing = False
            await task
        await a.unsubscribe(subscribed[2])
        a.buf.clear()


@case("sharded-events", "feature.sharded_subscription subscribe.nkey publish.rkey rule.pubsub.sharded")
async def _(s):
    """an event with a resource key goes to one node key, always the same; one without goes to all"""
    peers, publisher = await s.trio(), await s.join(2)
    uri = s.uri()
    for place, peer in enumerate(peers):
        await peer.subscribe(uri, nkey="n%d" % place)
    for n in range(48):
        await publisher.publish(uri, [n], rkey="r%d" % (n % 24))
    await publisher.publish(uri, ["end"])
    got = [firsts(await until(peer, "end")) for peer in peers]
    eq(sorted(sum(got, [])), list(range(48)))
    assert sum(1 for part in got if part) > 1, got
    for part in got:
        assert all((n + 24) % 48 in part for n in part), "a resource key moved: %r" % got


@case("subscription-revoked", "feature.subscription_revocation unsubscribed.subscription unsubscribed.reason rule.pubsub.revocation "
      "meta.subscription.remove_subscriber")
async def _(s):
    """who loses a subscription is told by UNSUBSCRIBED of request 0, if it announced it; nobody else is, and the meta event comes for both"""
    told, silent, asker = await asyncio.gather(s.join(0), s.join(1, roles=without("subscriber", "subscription_revocation")), s.join(2))
    uri, end = s.uri(), s.uri("end")
    await asker.subscribe("wamp.subscription.on_unsubscribe")
    for peer in (told, silent):
        subscription = await peer.subscribe(uri)
        await peer.subscribe(end)
        await asker.call("wamp.subscription.remove_subscriber", [subscription, peer.session], {"reason": "table.why"})
        await asker.expect(lambda m: m[0] == EVENT and pl(m)[0] == [peer.session, subscription])
    message = await told.expect(UNSUBSCRIBED)
    eq((message[1], message[2].get("subscription"), message[2].get("reason")), (0, subscription, "table.why"))
    await asker.publish(uri, [1])
    await asker.publish(end, ["end"])
    for peer in (told, silent):
        eq(await until(peer, "end"), [])
        assert not peer.buf, peer.buf
    await raises(told.unsubscribe(subscription), "wamp.error.no_such_subscription")


@case("event-too-large", "rule.rawsocket.limit rule.pubsub.too_large")
async def _(s):
    """an event that a subscriber's transport does not take is dropped, and the session goes on"""
    a, b = await asyncio.gather(s.join(0, url=s.raw_url(0), maxexp=4), s.join(2))
    uri = s.uri()
    await a.subscribe(uri)
    for n, size in enumerate((1, 10_000, 1)):
        await b.publish(uri, [n, "x" * size])
    await b.publish(uri, ["end"])
    eq(firsts(await until(a, "end")), [0, 2])
