// autobahn-js against a router: what it offers beyond autobahn_js.js and interop.js, with each serializer over WebSocket and in JSON over
// RawSocket. Callees and subscribers sit on the first URL, callers and publishers on the second; URLs are ws://… or tcp://….
'use strict';

const autobahn = require('autobahn');
const serializers = require('autobahn/lib/serializer.js');
const { Arrivals, equal, within, assert } = require('./common.js');

const MAKE = { json: serializers.JSONSerializer, msgpack: serializers.MsgpackSerializer, cbor: serializers.CBORSerializer };

async function open(url, serializer) {
  const { protocol, hostname, port } = new URL(url);
  const where = protocol === 'tcp:'
    ? { transports: [{ type: 'rawsocket', host: hostname, port: Number(port) }] }
    : { url, serializers: [new MAKE[serializer]()] };
  const connection = new autobahn.Connection({ ...where, realm: 'realm1', max_retries: 0 });
  let details;
  const gone = new Promise((resolve) => { connection.onclose = (reason, why) => { resolve({ reason, why }); return true; }; });
  const joined = new Promise((resolve) => { connection.onopen = (session, welcome) => { details = welcome; resolve(session); }; });
  connection.open();
  const session = await within(joined, 'WELCOME');
  return { session, details, gone, leave: () => { connection.close(); return within(gone, 'GOODBYE'); } };
}

async function refused(promise, uri) {
  const error = await within(promise.then(() => null, (e) => e), uri);
  assert(error, `expected ${uri}`);
  equal(error.error, uri, 'error URI');
}

const ok = (promise, what) => within(promise, what);

const steps = {
  // match: prefix and wildcard, with the topic and the procedure told.
  async patterns(near, far, tag) {
    const events = new Arrivals();
    const on = (name) => (args, _kwargs, details) => events.push([name, args[0], details.topic]);
    await ok(near.subscribe(`${tag}.a`, on('prefix'), { match: 'prefix' }), 'SUBSCRIBED');
    await ok(near.subscribe(`${tag}..b`, on('wildcard'), { match: 'wildcard' }), 'SUBSCRIBED');
    await ok(far.publish(`${tag}.a.x`, [1], {}, { acknowledge: true }), 'PUBLISHED');
    await ok(far.publish(`${tag}.z.b`, [2], {}, { acknowledge: true }), 'PUBLISHED');
    equal(await events.next('prefix'), ['prefix', 1, `${tag}.a.x`], 'prefix');
    equal(await events.next('wildcard'), ['wildcard', 2, `${tag}.z.b`], 'wildcard');
    const tells = (name) => (_args, _kwargs, details) => `${name} ${details.procedure.slice(tag.length)}`;
    await ok(near.register(`${tag}.p`, tells('prefix'), { match: 'prefix' }), 'REGISTERED');
    await ok(near.register(`${tag}..w`, tells('wildcard'), { match: 'wildcard' }), 'REGISTERED');
    equal(await ok(far.call(`${tag}.p.q`), 'RESULT'), 'prefix .p.q', 'procedure');
    equal(await ok(far.call(`${tag}.x.w`), 'RESULT'), 'wildcard .x.w', 'procedure');
  },

  // Every list of receivers.
  async lists(near, far, tag, { details }) {
    const events = new Arrivals();
    await ok(near.subscribe(`${tag}.t`, ([n]) => events.push(n)), 'SUBSCRIBED');
    const { authid, authrole } = details;
    const cases = [
      [{ exclude: [near.id] }, false], [{ eligible: [near.id] }, true], [{ eligible: [] }, false],
      [{ exclude_authid: [authid] }, false], [{ eligible_authid: [authid] }, true],
      [{ exclude_authrole: [authrole] }, false], [{ eligible_authrole: [authrole] }, true], [{ eligible_authrole: ['nobody'] }, false],
    ];
    for (const [n, [options]] of cases.entries()) await ok(far.publish(`${tag}.t`, [n], {}, { acknowledge: true, ...options }), 'PUBLISHED');
    for (const [n, [, gets]] of cases.entries()) if (gets) equal(await events.next(`event ${n}`), n, JSON.stringify(cases[n][0]));
  },

  // disclose_me of a call, of a publication, and for all of a session.
  async disclosure(near, far, tag) {
    const events = new Arrivals();
    await ok(near.subscribe(`${tag}.t`, (_args, _kwargs, d) => events.push([d.publisher ?? null, d.publisher_authrole ?? null])), 'SUBSCRIBED');
    await ok(near.register(`${tag}.who`, (_args, _kwargs, d) => d.caller ?? null), 'REGISTERED');
    equal(await ok(far.call(`${tag}.who`), 'RESULT'), null, 'nobody is named unasked');
    equal(await ok(far.call(`${tag}.who`, [], {}, { disclose_me: true }), 'RESULT'), far.id, 'caller');
    far.caller_disclose_me = true;
    far.publisher_disclose_me = true;
    equal(await ok(far.call(`${tag}.who`), 'RESULT'), far.id, 'caller of a session that discloses');
    await ok(far.publish(`${tag}.t`, [], {}, { acknowledge: true }), 'PUBLISHED');
    equal(await events.next('EVENT'), [far.id, 'anonymous'], 'publisher');
    far.caller_disclose_me = false;
    far.publisher_disclose_me = false;
  },

  // retain and get_retained.
  async retained(near, far, tag) {
    await ok(far.publish(`${tag}.state`, ['on'], {}, { acknowledge: true, retain: true }), 'PUBLISHED');
    for (let n = 0; ; n += 1) {
      const events = new Arrivals();
      const subscription = await ok(near.subscribe(`${tag}.state`, ([word], _kwargs, d) => events.push([word, d.retained]), { get_retained: true }), 'SUBSCRIBED');
      await new Promise((resolve) => { setTimeout(resolve, 50); });
      if (events.items.length || n === 100) {
        equal(await events.next('retained event'), ['on', true], 'retained event');
        return;
      }
      await ok(subscription.unsubscribe(), 'UNSUBSCRIBED');
    }
  },

  // invoke, concurrency and force_reregister.
  async shared(near, far, tag) {
    for (const [invoke, expected] of [['first', 'AAAA'], ['last', 'BBBB'], ['roundrobin', 'ABAB'], ['random', null]]) {
      const procedure = `${tag}.${invoke}`;
      await ok(near.register(procedure, () => 'A', { invoke }), 'REGISTERED');
      await ok(far.register(procedure, () => 'B', { invoke }), 'REGISTERED');
      let answers = '';
      for (let n = 0; n < 4; n += 1) answers += await ok(far.call(procedure), 'RESULT');
      assert(!expected || answers === expected || (invoke === 'roundrobin' && answers === 'BABA'), `${invoke}: ${answers}`);
      await refused(far.register(procedure, () => 'C', { invoke: 'single' }), 'wamp.error.procedure_already_exists');
    }
    const busy = `${tag}.busy`;
    let answer;
    await ok(near.register(busy, () => new Promise((resolve) => { answer = resolve; }), { invoke: 'roundrobin', concurrency: 1 }), 'REGISTERED');
    const first = far.call(busy);
    await refused(far.call(busy), 'wamp.error.no_available_callee');
    answer('free');
    equal(await ok(first, 'RESULT'), 'free', 'concurrency');
  },

  // What the router takes back: registration.on_unregister, subscription.on_unsubscribe.
  async revocation(near, far, tag) {
    const registration = await ok(near.register(`${tag}.taken`, () => 'near'), 'REGISTERED');
    await ok(far.register(`${tag}.taken`, () => 'far', { force_reregister: true }), 'REGISTERED');
    await ok(registration.on_unregister, 'UNREGISTERED');
    assert(!registration.active, 'the registration is over');
    equal(await ok(near.call(`${tag}.taken`), 'RESULT'), 'far', 'the new callee');
    const subscription = await ok(near.subscribe(`${tag}.t`, () => {}), 'SUBSCRIBED');
    await ok(far.call('wamp.subscription.remove_subscriber', [subscription.id, near.id]), 'RESULT');
    await ok(subscription.on_unsubscribe, 'UNSUBSCRIBED');
    assert(!subscription.active, 'the subscription is over');
  },

  // Names in short, which are the client's own affair, and testaments and the meta API, which are calls.
  async others(near, far, tag, { url, serializer }) {
    far.prefix('t', tag);
    await ok(near.register(`${tag}.add`, ([a, b]) => a + b), 'REGISTERED');
    equal(await ok(far.call('t:add', [2, 3]), 'RESULT'), 5, 'CURIE');
    const wills = new Arrivals();
    await ok(far.subscribe('t:will', ([word]) => wills.push(word)), 'SUBSCRIBED');
    const victim = await open(url, serializer);
    await ok(victim.session.call('wamp.session.add_testament', [`${tag}.will`, ['farewell'], {}]), 'RESULT');
    equal((await ok(far.call('wamp.session.get', [victim.session.id]), 'RESULT')).session, victim.session.id, 'meta call');
    await ok(far.call('wamp.session.kill', [victim.session.id], { reason: 'test.killed', message: 'enough' }), 'RESULT');
    equal((await ok(victim.gone, 'GOODBYE')).why.reason, 'test.killed', 'reason');
    equal(await wills.next('testament'), 'farewell', 'testament');
  },
};

async function attempt(nearUrl, farUrl, serializer) {
  const near = await open(nearUrl, serializer);
  const far = await open(farUrl, serializer);
  const transport = new URL(nearUrl).protocol === 'tcp:' ? 'raw' : 'ws';
  for (const [name, step] of Object.entries(steps)) {
    const tag = `test.features.js.${transport}.${serializer}.${name}.${Date.now()}`;
    try {
      await step(near.session, far.session, tag, { details: near.details, url: nearUrl, serializer });
    } catch (error) {
      throw new Error(`${name}: ${error && error.stack || JSON.stringify(error)}`);
    }
  }
  await near.leave();
  await far.leave();
}

(async () => {
  const [nears, fars] = process.argv.slice(2, 4).map((urls) => urls.split(','));
  let passed = 0;
  let failed = 0;
  for (const [at, near] of nears.entries()) {
    for (const serializer of near.startsWith('tcp:') ? ['json'] : Object.keys(MAKE)) {
      try {
        await attempt(near, fars[at], serializer);
        passed += 1;
        console.log(`ok    autobahn-js ${near} ${fars[at]} ${serializer}`);
      } catch (error) {
        failed += 1;
        console.log(`FAIL  autobahn-js ${near} ${fars[at]} ${serializer}: ${error.message}`);
      }
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed || !passed ? 1 : 0);
})();
