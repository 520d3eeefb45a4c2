"""Reflection: what is said of topics, procedures and errors, and payloads that are held to it."""
import asyncio
from stage import case
from wamplib import *
from rows.meta import ask

REALM_OF_DEFINITIONS = "table.reflection"
NEEDS = ("dealer", "reflection")
DEFINE, UNDEFINE, DESCRIBE = "wamp.reflect.define", "wamp.reflect.undefine", "wamp.reflect.describe"
KINDS = ("topic", "procedure", "error")


async def definers(s):
    return await asyncio.gather(s.join(0, realm=REALM_OF_DEFINITIONS), s.join(2, realm=REALM_OF_DEFINITIONS))


@case("reflection-announced", "feature.reflection", needs=NEEDS)
async def _(s):
    """both roles announce reflection"""
    roles = (await s.join(2)).welcome["roles"]
    eq([roles[role]["features"].get("reflection") for role in ("broker", "dealer")], [True, True])


@case("reflection-define", "feature.reflection meta.reflect.define meta.reflect.describe", needs=NEEDS)
async def _(s):
    """what one session defines, others are told on every node: new, replaced, unchanged, taken back"""
    a, b = await definers(s)
    uri = s.uri()
    first, second = {"type": "procedure", "doc": "one"}, {"type": "procedure", "doc": "two"}
    eq(await ask(a, DEFINE, uri, first), True)
    eq([d["doc"] for d in await ask(b, DESCRIBE, uri)], ["one"])
    eq(await ask(b, DEFINE, uri, second), False)
    eq(await ask(a, DEFINE, uri, second), None)
    (told,) = await ask(a, DESCRIBE, uri)
    eq([told[key] for key in ("uri", "type", "match", "doc")], [uri, "procedure", "exact", "two"])
    eq(await ask(a, UNDEFINE, uri), uri)
    eq(await ask(b, DESCRIBE, uri), [])
    eq(await ask(b, UNDEFINE, uri), None)
    await raises(a.call(DEFINE, [uri, {"type": "mystery"}]), "wamp.error.invalid_argument")
    await raises(a.call(DEFINE, ["table..x", first]), "wamp.error.invalid_uri")


def listed(kind):
    rows = "feature.reflection meta.reflection.%s.list meta.reflection.%s.describe" % (kind, kind)
    names = {"topic": "reflection-topics", "procedure": "reflection-procedures", "error": "reflection-errors"}

    @case(names[kind], rows, needs=NEEDS)
    async def _(s):
        """list tells the URIs by match policy, describe the definition that counts for a URI, or null"""
        a, b = await definers(s)
        uri = s.uri()
        eq(await ask(a, DEFINE, uri, {"type": kind, "doc": "exact"}), True)
        eq(await ask(a, DEFINE, uri[:-2], {"type": kind, "match": "prefix", "doc": "prefix"}), True)
        lists = await ask(b, "wamp.reflection.%s.list" % kind)
        eq(sorted(lists), ["exact", "prefix", "wildcard"])
        assert uri in lists["exact"] and uri[:-2] in lists["prefix"], lists
        for other in set(KINDS) - {kind}:
            assert uri not in (await ask(b, "wamp.reflection.%s.list" % other))["exact"]
            eq(await ask(b, "wamp.reflection.%s.describe" % other, uri), None)
        describe = "wamp.reflection.%s.describe" % kind
        eq((await ask(b, describe, uri))["doc"], "exact")
        eq((await ask(b, describe, uri + ".more"))["doc"], "prefix")
        eq((await ask(b, describe, uri[:-2], {"match": "prefix"}))["doc"], "prefix")
        eq(await ask(b, describe, s.uri("nothing")), None)


for kind in KINDS:
    listed(kind)


@case("reflection-events", "feature.reflection meta.reflect.on_define meta.reflect.on_undefine", needs=NEEDS)
async def _(s):
    """a definition that comes or goes is told on every node"""
    a, b = await definers(s)
    names = {await b.subscribe("wamp.reflect." + name): name for name in ("on_define", "on_undefine")}
    uri = s.uri()

    async def told():
        event = await b.expect(lambda m: m[0] == EVENT and m[1] in names and pl(m)[0][0] == uri)
        return [names[event[1]]] + pl(event)[0][1:]
    await ask(a, DEFINE, uri, {"type": "topic", "doc": "one"})
    name, definition, new = await told()
    eq((name, definition["doc"], definition["type"], new), ("on_define", "one", "topic", True))
    await ask(a, DEFINE, uri, {"type": "topic", "doc": "two"})
    name, definition, new = await told()
    eq((name, definition["doc"], new), ("on_define", "two", False))
    await ask(a, UNDEFINE, uri)
    name, which = await told()
    eq((name, which["type"], which["match"]), ("on_undefine", "topic", "exact"))


@case("reflection-denied", "uri.not_authorized", needs=NEEDS)
async def _(s):
    """where the realm lets no client define anything, who tries is told wamp.error.not_authorized"""
    a = await s.join(2)
    await raises(a.call(DEFINE, [s.uri(), {"type": "topic"}]), "wamp.error.not_authorized")


@case("reflection-validation", "feature.reflection rule.meta.validation uri.invalid_argument", needs=NEEDS)
async def _(s):
    """arguments, results and events that violate a definition's JSON Schema are refused with wamp.error.invalid_argument"""
    a, b = await definers(s)
    uri, topic = s.uri("add"), s.uri("news")
    number = {"args": {"items": {"type": "integer"}, "minItems": 1}}
    await ask(a, DEFINE, uri, {"type": "procedure", "call": number, "result": number})
    await ask(a, DEFINE, topic, {"type": "topic", "event": number})
    # On the other node it holds as soon as that node has been told so.
    await eventually(lambda: ask(b, "wamp.reflection.topic.describe", topic), lambda told: told)
    await a.register(uri)
    c = await s.join(1, realm=REALM_OF_DEFINITIONS)
    await c.subscribe(topic)
    s.serve(a, lambda invocation: [1] if pl(invocation)[0] == [1] else ["one"])
    eq(pl(await b.call(uri, [1]))[0], [1])
    await raises(b.call(uri, ["one"]), "wamp.error.invalid_argument")
    await raises(b.call(uri, []), "wamp.error.invalid_argument")
    await raises(b.call(uri, [2]), "wamp.error.invalid_argument")
    await raises(b.publish(topic, ["one"]), "wamp.error.invalid_argument")
    await b.publish(topic, ["one"], ack=False)
    await b.publish(topic, [2])
    await b.publish(topic, [3])
    eq([pl(await c.event())[0] for _ in range(2)], [[2], [3]])
