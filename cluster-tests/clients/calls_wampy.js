// wampy against a router: payload passthru, time limits, cancelling, the caller's name, and calls in parts, with each serializer.
// The callee and the subscriber sit on the first URL, the caller and the publisher on the second.
'use strict';

const { Wampy } = require('wampy');
const { JsonSerializer } = require('wampy/JsonSerializer.js');
const { MsgpackSerializer } = require('wampy/MsgpackSerializer.js');
const { CborSerializer } = require('wampy/CborSerializer.js');
const WebSocket = require('ws');
const { Arrivals, equal, within, main, assert } = require('./common.js');

const MAKE = { json: JsonSerializer, msgpack: MsgpackSerializer, cbor: CborSerializer };

// wampy can do these without saying so in HELLO; a router may rely on nothing but what is said there.
const UNSAID = {
  caller: ['progressive_call_invocations'],
  callee: ['call_canceling', 'progressive_call_results', 'progressive_call_invocations'],
};

async function open(url, serializer, says = {}) {
  const payloadSerializers = { cbor: new CborSerializer() };
  const client = new Wampy(url, {
    realm: 'realm1', ws: WebSocket, serializer: new MAKE[serializer](), payloadSerializers, autoReconnect: false, uriValidation: 'loose',
  });
  for (const [role, features] of Object.entries(says)) {
    for (const feature of features) client._wamp_features.roles[role].features[feature] = true;
  }
  await within(client.connect(), 'WELCOME');
  return client;
}

async function refused(promise, uri) {
  const error = await within(promise.then(() => null, (e) => e), uri);
  assert(error, `expected ${uri}`);
  equal(error.errorUri, uri, `error URI of ${error}`);
}

async function steps(near, far, serializer) {
  const callee = await open(near, serializer);
  const caller = await open(far, serializer);
  const name = (what) => `test.wampy.calls.${serializer}.${what}`;

  // Payloads that are passed through, there and back, and as an event; sealed ones where the serializer has binary values.
  const seals = [{ ppt_scheme: 'x_test', ppt_serializer: 'native' }];
  if (serializer !== 'json') seals.push({ ppt_scheme: 'wamp', ppt_serializer: 'cbor', ppt_keyid: 'k1' });
  const seen = new Arrivals();
  await within(callee.register(name('sealed'), ({ details, argsList, argsDict }) => {
    const seal = Object.fromEntries(Object.entries(details).filter(([key]) => key.startsWith('ppt_')));
    seen.push(seal);
    return { argsList, argsDict, options: seal };
  }), 'REGISTERED');
  const events = new Arrivals();
  await within(callee.subscribe(name('news'), ({ details, argsList }) => events.push([details.ppt_scheme, argsList])), 'SUBSCRIBED');
  for (const seal of seals) {
    const result = await within(caller.call(name('sealed'), { argsList: [1, 'two'], argsDict: { three: 3 } }, seal), 'RESULT');
    equal([result.argsList, result.argsDict, result.details.ppt_scheme], [[1, 'two'], { three: 3 }, seal.ppt_scheme], 'sealed result');
    equal(await seen.next('INVOCATION'), seal, 'what goes with the payload');
    await within(caller.publish(name('news'), ['sealed'], seal), 'PUBLISHED');
    equal(await events.next('EVENT'), [seal.ppt_scheme, ['sealed']], 'sealed event');
  }

  // Who calls.
  await within(callee.register(name('who'), ({ details }) => [details.caller ?? null]), 'REGISTERED');
  equal((await within(caller.call(name('who')), 'RESULT')).argsList, [null], 'nobody is named unasked');
  equal((await within(caller.call(name('who'), null, { disclose_me: true }), 'RESULT')).argsList, [caller.getSessionId()], 'caller');

  // A callee that says nothing of canceling is not interrupted; its late answer harms nobody.
  let answer;
  await within(callee.register(name('slow'), () => new Promise((resolve) => { answer = resolve; })), 'REGISTERED');
  await refused(caller.call(name('slow'), null, { timeout: 200 }), 'wamp.error.timeout');
  answer(['late']);
  for (const mode of ['skip', 'kill', 'killnowait']) {
    const call = caller.call(name('slow'));
    caller.cancel(caller.getOpStatus().reqId, { mode });
    await refused(call, 'wamp.error.canceled');
    if (answer) answer([mode]);
  }
  equal((await within(caller.call(name('who')), 'RESULT')).argsList, [null], 'the callee is still there');
  await within(callee.disconnect(), 'GOODBYE');
  await within(caller.disconnect(), 'GOODBYE');

  // Parts of a result and of arguments.
  const giver = await open(near, serializer, UNSAID);
  const taker = await open(far, serializer, UNSAID);
  await within(giver.register(name('count'), ({ argsList, result_handler }) => {
    for (let n = 0; n < argsList[0]; n += 1) result_handler({ argsList: [n], options: { progress: true } });
    return ['done'];
  }), 'REGISTERED');
  const parts = [];
  const progress_callback = ({ argsList }) => parts.push(argsList[0]);
  const counted = await within(taker.call(name('count'), [50], { progress_callback }), 'RESULT');
  equal([counted.argsList, parts], [['done'], [...Array(50).keys()]], 'parts of a result');

  let sum = 0;
  await within(giver.register(name('sum'), ({ details, argsList }) => {
    sum += argsList[0];
    return details.progress ? { argsList: [sum], options: { progress: true } } : [sum];
  }), 'REGISTERED');
  const sums = [];
  const { result, sendData } = taker.progressiveCall(name('sum'), [1], { progress_callback: (part) => sums.push(part.argsList[0]) });
  for (const n of [2, 3, 4]) sendData([n]);
  sendData([5], { progress: false });
  equal((await within(result, 'RESULT')).argsList, [15], 'parts of arguments');
  equal(sums, [1, 3, 6, 10], 'an answer to each part');
  await within(giver.disconnect(), 'GOODBYE');
  await within(taker.disconnect(), 'GOODBYE');
}

main('calls_wampy', steps);
