// wampy against a router: every step of the basic profile with each serializer, without a pause between a confirmation and what
// relies on it. The callee and the subscriber sit on the first URL, the caller and the publisher on the second.
'use strict';

const { Wampy } = require('wampy');
const { JsonSerializer } = require('wampy/JsonSerializer.js');
const { MsgpackSerializer } = require('wampy/MsgpackSerializer.js');
const { CborSerializer } = require('wampy/CborSerializer.js');
const WebSocket = require('ws');
const { ARGS, KWARGS, Arrivals, equal, within, main, assert } = require('./common.js');

const MAKE = { json: JsonSerializer, msgpack: MsgpackSerializer, cbor: CborSerializer };

async function open(url, serializer) {
  const client = new Wampy(url, { realm: 'realm1', ws: WebSocket, serializer: new MAKE[serializer](), autoReconnect: false, uriValidation: 'loose' });
  const welcome = await within(client.connect(), 'WELCOME');
  assert(client.getSessionId() > 0, JSON.stringify(welcome));
  return client;
}

async function refused(promise, uri) {
  const error = await within(promise.then(() => null, (e) => e), uri);
  assert(error, `expected ${uri}`);
  equal(error.errorUri, uri, `error URI of ${error}`);
  return error;
}

async function steps(near, far, serializer) {
  const callee = await open(near, serializer);
  const caller = await open(far, serializer);
  const procedure = `test.wampy.${serializer}.echo`;
  const topic = `test.wampy.${serializer}.news`;

  const echo = ({ argsList, argsDict, error_handler }) => {
    if (argsList && argsList[0] === 'bad') {
      error_handler({ error: 'test.error.bad', argsList: ['first'], argsDict: { number: 7 } });
      return undefined;
    }
    return { argsList, argsDict };
  };
  const { registrationId } = await within(callee.register(procedure, echo), 'REGISTERED');
  assert(registrationId > 0);
  const result = await within(caller.call(procedure, { argsList: ARGS, argsDict: KWARGS }), 'RESULT');
  equal(result.argsList, ARGS, 'args of the result');
  equal(result.argsDict, KWARGS, 'kwargs of the result');
  if (serializer !== 'json') {
    const bytes = await within(caller.call(procedure, [Buffer.from([0, 1, 254, 255])]), 'RESULT of bytes');
    equal(bytes.argsList, [Buffer.from([0, 1, 254, 255])], 'binary');
  }
  await refused(caller.call(`${procedure}.missing`), 'wamp.error.no_such_procedure');
  await refused(caller.register(procedure, echo), 'wamp.error.procedure_already_exists');
  const bad = await refused(caller.call(procedure, ['bad']), 'test.error.bad');
  equal([bad.argsList, bad.argsDict], [['first'], { number: 7 }], 'payload of the error');

  const events = new Arrivals();
  const subscribed = await within(callee.subscribe(topic, ({ argsList, argsDict }) => events.push([argsList, argsDict])), 'SUBSCRIBED');
  const { publicationId } = await within(caller.publish(topic, { argsList: ARGS, argsDict: KWARGS }), 'PUBLISHED');
  assert(publicationId > 0);
  equal(await events.next('EVENT'), [ARGS, KWARGS], 'event');
  const published = [];
  for (let n = 0; n < 100; n += 1) published.push(caller.publish(topic, [n]));
  for (let n = 0; n < 100; n += 1) equal((await events.next(`event ${n}`))[0], [n], 'order of events');
  await within(Promise.all(published), 'every PUBLISHED');
  // wampy never sends `exclude_me: false`, so a publisher can only be seen not to hear itself.
  await within(callee.publish(topic, ['own']), 'PUBLISHED');
  await within(caller.publish(topic, ['other']), 'PUBLISHED');
  equal((await events.next('event after the own one'))[0], ['other'], 'exclude_me');

  await within(callee.unsubscribe(subscribed.subscriptionKey), 'UNSUBSCRIBED');
  await within(caller.publish(topic, ['late']), 'PUBLISHED');
  await within(callee.unregister(procedure), 'UNREGISTERED');
  await refused(caller.call(procedure, [1]), 'wamp.error.no_such_procedure');
  equal(events.items.length, 0, 'events after UNSUBSCRIBED');
  await within(callee.disconnect(), 'GOODBYE');
  await within(caller.disconnect(), 'GOODBYE');
}

main('wampy', steps);
