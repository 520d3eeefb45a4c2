// autobahn-js over HTTP long-poll: what a program does with the basic profile. The callee and the subscriber poll the first URL, the caller
// and the publisher the second; their listeners have the profile `autobahn` and let a poll wait for a second.
'use strict';

const autobahn = require('autobahn');
const { ARGS, KWARGS, Arrivals, equal, within, assert } = require('./common.js');

// autobahn-js asks with the XMLHttpRequest of browsers, which Node.js has not.
globalThis.XMLHttpRequest = class {
  open(method, url) { this.method = method; this.url = url; this.headers = {}; }
  setRequestHeader(name, value) { this.headers[name] = value; }
  send(body) {
    const end = (status, statusText, text) => { Object.assign(this, { readyState: 4, status, statusText, responseText: text }); this.onreadystatechange(); };
    fetch(this.url, { method: this.method, headers: this.headers, body }).then(
      async (answer) => end(answer.status, answer.statusText, await answer.text()),
      (error) => end(0, String(error), ''),
    );
  }
};

const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

function open(url) {
  const connection = new autobahn.Connection({ transports: [{ type: 'longpoll', url }], realm: 'realm1', max_retries: 0 });
  const gone = new Promise((resolve) => { connection.onclose = (reason, details) => { resolve({ reason, details }); return true; }; });
  const joined = new Promise((resolve, reject) => {
    connection.onopen = (session) => resolve(session);
    gone.then(({ reason, details }) => reject(new Error(`not joined: ${reason} ${JSON.stringify(details)}`)));
  });
  connection.open();
  return within(joined, 'WELCOME').then((session) => {
    equal(connection.transport.info.type, 'longpoll', 'transport');
    return { session, leave: () => { connection.close(); return within(gone, 'GOODBYE'); } };
  });
}

async function refused(promise, uri) {
  const error = await within(promise.then(() => null, (e) => e), uri);
  assert(error, `expected ${uri}`);
  equal(error.error, uri, 'error URI');
}

async function steps(near, far) {
  const callee = await open(near);
  const caller = await open(far);
  const tag = `test.longpoll.${Date.now()}`;
  const registration = await within(callee.session.register(`${tag}.echo`, (args, kwargs) => new autobahn.Result(args, kwargs)), 'REGISTERED');
  const result = await within(caller.session.call(`${tag}.echo`, ARGS, KWARGS), 'RESULT');
  equal(result.args, ARGS, 'args of the result');
  equal(result.kwargs, KWARGS, 'kwargs of the result');
  await refused(caller.session.call(`${tag}.missing`), 'wamp.error.no_such_procedure');

  const events = new Arrivals();
  const subscription = await within(callee.session.subscribe(`${tag}.news`, (args) => events.push(args)), 'SUBSCRIBED');
  for (let n = 0; n < 20; n += 1) await within(caller.session.publish(`${tag}.news`, [n, ...ARGS], {}, { acknowledge: true }), 'PUBLISHED');
  for (let n = 0; n < 20; n += 1) equal(await events.next(`event ${n}`), [n, ...ARGS], 'order of events');

  // Polls that bring nothing are answered and made again.
  await sleep(5000);
  equal(await within(caller.session.call(`${tag}.echo`, [1]), 'RESULT after a while'), 1, 'the sessions live on');

  await within(subscription.unsubscribe(), 'UNSUBSCRIBED');
  await within(registration.unregister(), 'UNREGISTERED');
  const left = new Arrivals();
  await within(callee.session.subscribe('wamp.session.on_leave', (args) => left.push(args[0])), 'SUBSCRIBED');
  const id = caller.session.id;
  equal((await caller.leave()).reason, 'closed', 'end of the session');
  for (;;) if (await left.next('on_leave') === id) break;
  await callee.leave();
}

(async () => {
  const [near, far] = process.argv.slice(2);
  try {
    await steps(near, far);
    console.log('1 passed, 0 failed');
    process.exit(0);
  } catch (error) {
    console.log(`FAIL  ${error && error.stack || JSON.stringify(error)}`);
    console.log('0 passed, 1 failed');
    process.exit(1);
  }
})();
