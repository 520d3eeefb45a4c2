// autobahn-js against a router: every step of the basic profile with each serializer, without a pause between a confirmation and
// what relies on it. The callee and the subscriber sit on the first URL, the caller and the publisher on the second.
'use strict';

const autobahn = require('autobahn');
const serializers = require('autobahn/lib/serializer.js');
const { ARGS, KWARGS, Arrivals, equal, within, main, assert } = require('./common.js');

const MAKE = { json: serializers.JSONSerializer, msgpack: serializers.MsgpackSerializer, cbor: serializers.CBORSerializer };

function open(url, serializer) {
  const connection = new autobahn.Connection({ url, realm: 'realm1', max_retries: 0, serializers: [new MAKE[serializer]()] });
  const gone = new Promise((resolve) => { connection.onclose = (reason, details) => { resolve({ reason, details }); return true; }; });
  const joined = new Promise((resolve, reject) => {
    connection.onopen = (session) => resolve(session);
    gone.then(({ reason, details }) => reject(new Error(`not joined: ${reason} ${JSON.stringify(details)}`)));
  });
  connection.open();
  return within(joined, 'WELCOME').then((session) => {
    equal(connection.transport.info.protocol, `wamp.2.${serializer}`, 'subprotocol');
    return { session, leave: () => { connection.close(); return within(gone, 'GOODBYE'); } };
  });
}

async function refused(promise, uri) {
  const error = await within(promise.then(() => null, (e) => e), uri);
  assert(error, `expected ${uri}`);
  equal(error.error, uri, 'error URI');
  return error;
}

async function steps(near, far, serializer) {
  const callee = await open(near, serializer);
  const caller = await open(far, serializer);
  const procedure = `test.autobahnjs.${serializer}.echo`;
  const topic = `test.autobahnjs.${serializer}.news`;

  const echo = (args, kwargs) => {
    if (args[0] === 'bad') throw new autobahn.Error('test.error.bad', ['first'], { number: 7 });
    return new autobahn.Result(args, kwargs);
  };
  const registration = await within(callee.session.register(procedure, echo), 'REGISTERED');
  const result = await within(caller.session.call(procedure, ARGS, KWARGS), 'RESULT');
  equal(result.args, ARGS, 'args of the result');
  equal(result.kwargs, KWARGS, 'kwargs of the result');
  if (serializer !== 'json') {
    const bytes = await within(caller.session.call(procedure, [Buffer.from([0, 1, 254, 255])]), 'RESULT of bytes');
    equal(bytes, Buffer.from([0, 1, 254, 255]), 'binary');
  }
  const bad = await refused(caller.session.call(procedure, ['bad']), 'test.error.bad');
  equal([bad.args, bad.kwargs], [['first'], { number: 7 }], 'payload of the error');
  await refused(caller.session.register(procedure, echo), 'wamp.error.procedure_already_exists');
  await refused(caller.session.call(`${procedure}.missing`), 'wamp.error.no_such_procedure');

  const events = new Arrivals();
  const subscription = await within(callee.session.subscribe(topic, (args, kwargs) => events.push([args, kwargs])), 'SUBSCRIBED');
  const publication = await within(caller.session.publish(topic, ARGS, KWARGS, { acknowledge: true }), 'PUBLISHED');
  assert(publication.id > 0);
  equal(await events.next('EVENT'), [ARGS, KWARGS], 'event');
  for (let n = 0; n < 100; n += 1) caller.session.publish(topic, [n]);
  for (let n = 0; n < 100; n += 1) equal((await events.next(`event ${n}`))[0], [n], 'order of events');
  await within(callee.session.publish(topic, ['own'], {}, { acknowledge: true }), 'PUBLISHED');
  await within(callee.session.publish(topic, ['asked'], {}, { acknowledge: true, exclude_me: false }), 'PUBLISHED');
  equal((await events.next('own event'))[0], ['asked'], 'exclude_me');

  await within(subscription.unsubscribe(), 'UNSUBSCRIBED');
  await within(caller.session.publish(topic, ['late'], {}, { acknowledge: true }), 'PUBLISHED');
  await within(registration.unregister(), 'UNREGISTERED');
  await refused(caller.session.call(procedure, [1]), 'wamp.error.no_such_procedure');
  equal(events.items.length, 0, 'events after UNSUBSCRIBED');
  equal((await callee.leave()).reason, 'closed', 'end of the session');
  await caller.leave();
}

main('autobahn-js', steps);
