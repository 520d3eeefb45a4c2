// wampy against a router: what it offers beyond wampy.js and calls_wampy.js, with each serializer. Callees and subscribers sit on the first
// URL, callers and publishers on the second, whose listener gives them trust level 3.
'use strict';

const { Wampy } = require('wampy');
const { JsonSerializer } = require('wampy/JsonSerializer.js');
const { MsgpackSerializer } = require('wampy/MsgpackSerializer.js');
const { CborSerializer } = require('wampy/CborSerializer.js');
const WebSocket = require('ws');
const { Arrivals, equal, within, main, assert } = require('./common.js');

const MAKE = { json: JsonSerializer, msgpack: MsgpackSerializer, cbor: CborSerializer };

async function open(url, serializer, options = {}) {
  const client = new Wampy(url, { realm: 'realm1', ws: WebSocket, serializer: new MAKE[serializer](), autoReconnect: false, uriValidation: 'loose', ...options });
  const welcome = await within(client.connect(), 'WELCOME');
  return Object.assign(client, { welcome });
}

async function refused(promise, uri) {
  const error = await within(promise.then(() => null, (e) => e), uri);
  assert(error, `expected ${uri}`);
  equal(error.errorUri, uri, `error URI of ${error}`);
}

const ok = within;
const listen = async (client, topic, options) => {
  const events = new Arrivals();
  const subscribed = await ok(client.subscribe(topic, (event) => events.push(event), options), 'SUBSCRIBED');
  return Object.assign(events, subscribed);
};

async function steps(nearUrl, farUrl, serializer) {
  const near = await open(nearUrl, serializer);
  const far = await open(farUrl, serializer);
  const tag = `test.features.wampy.${serializer}.${Date.now()}`;

  // match of subscriptions; trust levels, which wampy announces, and the publisher's name.
  const prefix = await listen(near, `${tag}.a`, { match: 'prefix' });
  const wildcard = await listen(near, `${tag}..b`, { match: 'wildcard' });
  await ok(far.publish(`${tag}.a.x`, [1]), 'PUBLISHED');
  await ok(far.publish(`${tag}.z.b`, [2], { disclose_me: true }), 'PUBLISHED');
  const first = await prefix.next('prefix');
  equal([first.argsList, first.details.topic, first.details.publisher ?? null], [[1], `${tag}.a.x`, null], 'prefix');
  const second = await wildcard.next('wildcard');
  equal([second.argsList, second.details.topic, second.details.publisher], [[2], `${tag}.z.b`, far.getSessionId()], 'wildcard');
  equal(second.details.publisher_authrole, 'anonymous', 'role of the publisher');

  // Every list of receivers, as a list and as a single value.
  const { authid, authrole } = near.welcome;
  const id = near.getSessionId();
  const chosen = await listen(near, `${tag}.lists`);
  // In MessagePack wampy has a BigInt for its id, and takes none as a single value.
  const cases = [
    [{ exclude: [id] }, false], [{ exclude: Number(id) }, false], [{ eligible: [id] }, true], [{ eligible: Number(id) }, true],
    [{ exclude_authid: authid }, false], [{ eligible_authid: [authid] }, true],
    [{ exclude_authrole: [authrole] }, false], [{ eligible_authrole: authrole }, true], [{ eligible_authrole: 'nobody' }, false],
  ];
  for (const [n, [options]] of cases.entries()) await ok(far.publish(`${tag}.lists`, [n], options), 'PUBLISHED');
  for (const [n, [options, gets]] of cases.entries()) if (gets) equal((await chosen.next(`event ${n}`)).argsList, [n], `case ${n}`);

  // get_retained; wampy 8 takes `retain` and does not send it, so the topic retains by its rule.
  const state = `test.features.state.${serializer}.${Date.now()}`;
  await ok(far.publish(state, ['on']), 'PUBLISHED');
  for (let n = 0; ; n += 1) {
    const retained = await listen(near, state, { get_retained: true });
    await new Promise((resolve) => { setTimeout(resolve, 50); });
    if (retained.items.length || n === 100) {
      const event = await retained.next('retained event');
      equal([event.argsList, event.details.retained], [['on'], true], 'retained event');
      break;
    }
    await ok(near.unsubscribe(retained.subscriptionKey), 'UNSUBSCRIBED');
  }

  // match and invoke of registrations; the caller's trust level.
  const tells = (name) => ({ details }) => [name, details.procedure ?? null, details.trustlevel ?? null];
  await ok(near.register(`${tag}.p`, tells('prefix'), { match: 'prefix' }), 'REGISTERED');
  await ok(near.register(`${tag}..w`, tells('wildcard'), { match: 'wildcard' }), 'REGISTERED');
  equal((await ok(far.call(`${tag}.p.q`), 'RESULT')).argsList, ['prefix', `${tag}.p.q`, 3], 'prefix');
  equal((await ok(far.call(`${tag}.x.w`), 'RESULT')).argsList, ['wildcard', `${tag}.x.w`, 3], 'wildcard');
  for (const [invoke, expected] of [['first', /^AAAA$/], ['last', /^BBBB$/], ['roundrobin', /^(ABAB|BABA)$/], ['random', /^[AB]{4}$/]]) {
    await ok(near.register(`${tag}.${invoke}`, () => ['A'], { invoke }), 'REGISTERED');
    await ok(far.register(`${tag}.${invoke}`, () => ['B'], { invoke }), 'REGISTERED');
    let answers = '';
    for (let n = 0; n < 4; n += 1) answers += (await ok(far.call(`${tag}.${invoke}`), 'RESULT')).argsList[0];
    assert(expected.test(answers), `${invoke}: ${answers}`);
  }

  // Options of its own (`_…`) do no harm; strict URIs; the meta API with what wampy makes of it.
  equal((await ok(far.call(`${tag}.p.own`, [1], { _own: 'x' }), 'RESULT')).argsList[0], 'prefix', 'an option of its own');
  const strict = await open(farUrl, serializer, { uriValidation: 'strict' });
  await within(strict.publish(`${tag}.Not-Strict`, [1]).then(() => { throw new Error('taken'); }, () => {}), 'refused by wampy itself');
  equal((await ok(strict.call(`${tag}.p.strict`), 'RESULT')).argsList[0], 'prefix', 'strict URIs');
  equal((await ok(strict.call('wamp.session.get', [id]), 'RESULT')).argsList[0].session, id, 'meta call');
  const left = await listen(near, 'wamp.session.on_leave');
  const strictId = strict.getSessionId();
  await ok(strict.disconnect(), 'GOODBYE');
  for (;;) if ((await left.next('on_leave')).argsList[0] === strictId) break;
  await refused(far.call('wamp.session.get', [strictId]), 'wamp.error.no_such_session');

  for (const client of [near, far]) await ok(client.disconnect(), 'GOODBYE');
}

main('features_wampy', steps);
