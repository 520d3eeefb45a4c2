"""Events that are kept: retained ones and histories."""
import asyncio
from datetime import datetime, timedelta, timezone
from stage import case, firsts, settled, until
from wamplib import *
from rows.events import DOOR, LAMP

RETAINED = "feature.event_retention subscribe.get_retained publish.retain"


async def fetch(peer, uri, **options):
    """what a new subscription of the peer is given at once, as (first argument, details)"""
    subscription = await peer.subscribe(uri, get_retained=True, **options)
    await settled(peer)
    await asyncio.sleep(0.05)
    await settled(peer)
    events = [m for m in peer.buf if m[0] == EVENT]
    peer.buf = [m for m in peer.buf if m[0] != EVENT]
    assert all(event[1] == subscription for event in events), events
    await peer.unsubscribe(subscription)
    return [(pl(event)[0][0], event[3]) for event in events]


@case("retained-newest", RETAINED + " event.retained rule.retention.newest rule.retention.asked")
async def _(s):
    """get_retained gives the newest retained event, marked as such, behind SUBSCRIBED; without it, and for live events, nothing of the kind"""
    a, b = await s.both()
    uri = s.uri()
    for n in range(3):
        await b.publish(uri, [n], retain=True)
    await b.publish(uri, ["not retained"])
    request = a.nid()
    await a.send([SUBSCRIBE, request, {"get_retained": True}, uri])
    eq((await a.recv())[:2], [SUBSCRIBED, request], "the first message")
    event = await a.event()
    eq((pl(event)[0], event[3].get("retained")), ([2], True))
    await b.publish(uri, [3], retain=True)
    event = await a.event()
    eq((pl(event)[0], event[3].get("retained", False)), ([3], False))
    c = await s.join(1)
    await c.subscribe(uri)
    await settled(c)
    assert not c.buf, c.buf


@case("retained-for-some", RETAINED + " rule.retention.eligible rule.retention.supplements")
async def _(s):
    """a retained event for some only is given to those alone; others get the newest that they may have"""
    a, lamp, b = await asyncio.gather(s.join(0), s.join(1, ticket=LAMP), s.join(2))
    uri = s.uri()
    await b.publish(uri, ["for all"], retain=True)
    await b.publish(uri, ["for devices"], retain=True, eligible_authrole=["device"])
    eq([arg for arg, _ in await fetch(lamp, uri)], ["for devices"])
    eq([arg for arg, _ in await fetch(a, uri)], ["for all"])


@case("retained-of-patterns", RETAINED + " rule.retention.patterns")
async def _(s):
    """a pattern subscription is given one event for each matching topic"""
    a, b = await s.both()
    uri = s.uri()
    for n, topic in enumerate((".p.x", ".q.x", ".q.y")):
        await b.publish(uri + topic, [n], retain=True)
    for pattern, options, expected in ((uri, {"match": "prefix"}, {0, 1, 2}), (uri + "..x", {"match": "wildcard"}, {0, 1})):
        events = await fetch(a, pattern, **options)
        eq({arg for arg, _ in events}, expected)
        eq(len(events), len(expected))
        assert all(details.get("retained") is True and details["topic"].startswith(uri) for _, details in events), events


GET = "wamp.subscription.get_events"
HISTORY = "feature.event_history meta.subscription.get_events"


class History:
    """a topic with a history, ten events of it, and one who asks"""

    @classmethod
    async def of(cls, s, count=10, options=lambda n: {}):
        self = cls()
        self.asker, self.publisher = await s.both()
        self.topic = "table.kept." + s.uri()
        self.subscription = await self.asker.subscribe(self.topic)
        self.ids = []
        for n in range(count):
            self.ids.append(await self.publisher.publish(self.topic, [n], {"n": n}, **options(n)))
        # One's own event is the last to come, so all of them are kept by then.
        while len([m for m in self.asker.buf if m[0] == EVENT]) < count:
            self.asker.buf.append(await self.asker._read(T))
        return self

    async def get(self, asker=None, **filters):
        result = await (asker or self.asker).call(GET, [self.subscription], filters)
        return [event["args"][0] for event in pl(result)[0]]


@case("history-format", HISTORY + " rule.history.order rule.history.format")
async def _(s):
    """a history is told in the order of arrival, each event with time, subscription, publication, details and payload"""
    history = await History.of(s, 5)
    events = pl(await history.asker.call(GET, [history.subscription]))[0]
    eq([event["publication"] for event in events], history.ids)
    for n, event in enumerate(events):
        eq((event["subscription"], event["args"], event["kwargs"]), (history.subscription, [n], {"n": n}))
        assert isinstance(event["details"], dict)
        at = datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00"))
        assert abs((datetime.now(timezone.utc) - at).total_seconds()) < 60, event


@case("history-limit", HISTORY + " rule.history.limit rule.history.reverse")
async def _(s):
    """limit bounds the answer, reverse tells the newest first"""
    history = await History.of(s)
    eq(await history.get(limit=3), [0, 1, 2])
    eq(await history.get(reverse=True), list(range(9, -1, -1)))
    eq(await history.get(reverse=True, limit=2), [9, 8])
    await raises(history.get(limit=0), "wamp.error.invalid_argument")


@case("history-times", HISTORY + " rule.history.from_time rule.history.after_time rule.history.before_time rule.history.until_time")
async def _(s):
    """from_time and until_time include their moment, after_time and before_time do not"""
    history = await History.of(s, 6)
    events = pl(await history.asker.call(GET, [history.subscription]))[0]
    times = [event["timestamp"] for event in events]
    read = lambda text: datetime.fromisoformat(text.replace("Z", "+00:00"))
    moment = [read(t) for t in times]
    at = times[3]
    for key, keeps in (("from_time", lambda t: t >= moment[3]), ("after_time", lambda t: t > moment[3]),
                       ("before_time", lambda t: t < moment[3]), ("until_time", lambda t: t <= moment[3])):
        eq(await history.get(**{key: at}), [n for n, t in enumerate(moment) if keeps(t)], key)
    eq(await history.get(from_time=(moment[-1] + timedelta(hours=1)).isoformat()), [])
    await raises(history.get(from_time="yesterday"), "wamp.error.invalid_argument")


@case("history-positions", HISTORY + " rule.history.from_publication rule.history.after_publication rule.history.before_publication "
      "rule.history.until_publication rule.history.anded")
async def _(s):
    """publications bound a history by their place in it; all filters that are given hold"""
    history = await History.of(s)
    at = history.ids[4]
    eq(await history.get(from_publication=at), list(range(4, 10)))
    eq(await history.get(after_publication=at), list(range(5, 10)))
    eq(await history.get(before_publication=at), list(range(4)))
    eq(await history.get(until_publication=at), list(range(5)))
    eq(await history.get(after_publication=history.ids[2], until_publication=history.ids[7], reverse=True, limit=3), [7, 6, 5])
    eq(await history.get(after_publication=history.ids[7], before_publication=history.ids[3]), [])


@case("history-of-patterns", HISTORY + " rule.history.topic")
async def _(s):
    """the history of a pattern names topics and can be narrowed to one"""
    asker, publisher = await s.both()
    # The pattern is that of the configuration, which all runs share.
    subscription = await asker.subscribe("table.kept.", match="prefix")
    base = "table.kept." + s.uri()
    for n in range(6):
        await publisher.publish(base + (".a" if n % 2 else ".b"), [n])
    await asker.expect(lambda m: m[0] == EVENT and pl(m)[0] == [5] and m[3].get("topic") == base + ".a")
    for topic, expected in ((".a", [1, 3, 5]), (".b", [0, 2, 4]), (".c", [])):
        events = pl(await asker.call(GET, [subscription], {"topic": base + topic}))[0]
        eq([event["args"][0] for event in events], expected)
        eq({event["details"]["topic"] for event in events}, {base + topic} if expected else set())


@case("history-for-some", HISTORY + " rule.history.names rule.history.session_lists")
async def _(s):
    """events for some authids or roles are told to those alone; events for sessions are not kept at all"""
    lists = [{}, {"eligible_authrole": ["device"]}, {"exclude_authrole": ["device"]}, {"eligible_authid": ["lamp"]}, {}]
    history = await History.of(s, 1)
    lamp = await s.join(1, ticket=LAMP)
    door = await s.join(0, ticket=DOOR)
    for n, options in enumerate(lists):
        await history.publisher.publish(history.topic, [10 + n], **options)
    await history.publisher.publish(history.topic, ["named"], eligible=[history.asker.session])
    await history.publisher.publish(history.topic, ["not for the door"], exclude=[door.session])
    await history.publisher.publish(history.topic, ["end"])
    await until(history.asker, "end")
    eq(await history.get(), [0, 10, 12, 14, "end"])
    eq(await eventually(lambda: history.get(lamp), lambda got: got[-1:] == ["end"]), [0, 10, 11, 13, 14, "end"])
    eq(await eventually(lambda: history.get(door), lambda got: got[-1:] == ["end"]), [0, 10, 12, 14, "end"])


@case("history-authorized", "rule.history.authorized uri.not_authorized")
async def _(s):
    """who may not subscribe to a topic is not told its history either; an unknown subscription stays unknown"""
    keeper, guest = await asyncio.gather(s.join(0, realm="table.rules", ticket=("keeper", "opens all")), s.join(2, realm="table.rules"))
    topic = "table.closed.kept." + s.uri()
    subscription = await keeper.subscribe(topic)
    await keeper.publish(topic, [1], exclude_me=False)
    await keeper.event()
    eq([event["args"] for event in pl(await keeper.call(GET, [subscription]))[0]], [[1]])
    await raises(guest.call(GET, [subscription]), "wamp.error.not_authorized")
    await raises(guest.call(GET, [2 ** 53]), "wamp.error.no_such_subscription")


@case("testament-kept", "feature.testament_meta_api rule.testament.kept rule.testament.options")
async def _(s):
    """a testament is retained where it asks for that, and stands in the history of its topic, on every node and once"""
    for how in ("goodbye", "drop"):
        testator, heir, asker = await s.trio()
        topic, kept = s.uri(), "table.kept." + s.uri()
        await testator.publish(topic, ["here"], retain=True)
        await heir.subscribe(topic)
        subscription = await asker.subscribe(kept)
        for uri, options in ((topic, {"retain": True, "disclose_me": True}), (kept, {})):
            await testator.call("wamp.session.add_testament", [uri, ["gone"], {}], {"publish_options": options})
        if how == "goodbye":
            await testator.goodbye()
        else:
            testator.drop()
        event = await heir.event()
        eq((pl(event)[0], event[3].get("retained", False), event[3].get("publisher")), (["gone"], False, testator.session))
        for node in range(3):
            late = await s.join(node)

            async def retained():
                return [arg for arg, _ in await fetch(late, topic)]

            async def history():
                return [event["args"] for event in pl(await late.call(GET, [subscription]))[0]]
            await eventually(retained, ["gone"])
            await eventually(history, [["gone"]])


@case("history-unavailable", "uri.history_unavailable uri.no_such_subscription")
async def _(s):
    """a subscription of which nothing is kept has no history, and one that is none is refused"""
    a = await s.join(2)
    subscription = await a.subscribe(s.uri())
    await raises(a.call(GET, [subscription]), "wamp.error.history_unavailable")
    await raises(a.call(GET, [2 ** 53]), "wamp.error.no_such_subscription")
