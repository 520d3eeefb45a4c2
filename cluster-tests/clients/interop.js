// Traps between autobahn-js or wampy and a router that does as the WAMP text says; and how a profile helps.
//
// Argument: the listeners of two nodes by their profile, as JSON, see interop.py. Callees sit near, callers far.
'use strict';

const autobahn = require('autobahn');
const { Wampy } = require('wampy');
const WebSocket = require('ws');
const { Arrivals, equal, within, assert } = require('./common.js');

async function open(url) {
  const connection = new autobahn.Connection({ url, realm: 'realm1', max_retries: 0, on_internal_error: () => {} });
  const gone = new Promise((resolve) => { connection.onclose = (reason) => { resolve(reason); return true; }; });
  const joined = new Promise((resolve) => { connection.onopen = resolve; });
  connection.open();
  const session = await within(joined, 'WELCOME');
  return { session, gone, leave: () => { connection.close(); return within(gone, 'GOODBYE'); } };
}

async function refused(promise, what) {
  const error = await within(promise.then(() => null, (e) => e), what);
  assert(error, `expected an error: ${what}`);
  return error;
}

const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

const steps = {
  // autobahn-js hands `timeout` on as it is; whoever writes seconds as with Crossbar needs the profile.
  async seconds(near, far, tag) {
    const callee = await open(near.strict[0]);
    await within(callee.session.register(`${tag}.sleep`, ([ms]) => sleep(ms).then(() => 'slept')), 'REGISTERED');
    for (const [profile, uri] of [['strict', null], ['autobahn', 'wamp.error.timeout'], ['crossbar', 'wamp.error.canceled']]) {
      const caller = await open(far[profile][0]);
      const call = (ms) => caller.session.call(`${tag}.sleep`, [ms], {}, { timeout: 1 });
      if (uri) {
        equal(await within(call(300), 'RESULT'), 'slept', profile);
        const begun = Date.now();
        equal((await refused(call(5000), 'a second')).error, uri, profile);
        assert(Date.now() - begun > 900, `${profile}: a second is a second`);
      } else {
        equal((await refused(call(300), 'a millisecond')).error, 'wamp.error.timeout', profile);
      }
      await caller.leave();
    }
    await callee.leave();
  },

  // autobahn-js forgets a call when it cancels it, unless in mode `kill`, and closes its session on an answer to it.
  async cancel(near, far, tag) {
    const callee = await open(near.strict[0]);
    let answer;
    await within(callee.session.register(`${tag}.slow`, () => new Promise((resolve) => { answer = resolve; })), 'REGISTERED');
    await within(callee.session.register(`${tag}.quick`, () => 1), 'REGISTERED');
    for (const mode of [undefined, { mode: 'skip' }, { mode: 'killnowait' }]) {
      const caller = await open(far.autobahn[0]);
      const call = caller.session.call(`${tag}.slow`);
      call.cancel(mode);
      await refused(call, 'cancelled here');
      equal(await within(caller.session.call(`${tag}.quick`), 'RESULT'), 1, 'the session goes on');
      await sleep(50);
      assert(caller.session.isOpen, 'and stays');
      if (answer) answer('late');
      equal(await within(caller.session.call(`${tag}.quick`), 'RESULT'), 1, 'nor does the late answer harm it');
      await caller.leave();
    }
    for (const profile of ['strict', 'autobahn', 'crossbar']) {
      const caller = await open(far[profile][0]);
      const call = caller.session.call(`${tag}.slow`);
      call.cancel({ mode: 'kill' });
      equal((await refused(call, 'kill')).error, 'wamp.error.canceled', `${profile}: mode kill is answered`);
      equal(await within(caller.session.call(`${tag}.quick`), 'RESULT'), 1, profile);
      await caller.leave();
    }
    // The trap itself: should autobahn-js mend it, this switch can go.
    const trapped = await open(far.strict[0]);
    const call = trapped.session.call(`${tag}.slow`);
    call.cancel();
    await refused(call, 'cancelled here');
    await within(trapped.gone, 'autobahn-js closes the session on the ERROR');
    await callee.leave();
  },

  // `skip` gives an ERROR at once; Crossbar is silent there, and its callers wait for ever.
  async skip(near, far, tag) {
    const [callee, caller] = [near, far].map(({ strict: [url] }) => new Wampy(url, { realm: 'realm1', ws: WebSocket, autoReconnect: false, uriValidation: 'loose' }));
    await Promise.all([callee, caller].map((client) => within(client.connect(), 'WELCOME')));
    await within(callee.register(`${tag}.never`, () => new Promise(() => {})), 'REGISTERED');
    const call = caller.call(`${tag}.never`);
    caller.cancel(caller.getOpStatus().reqId, { mode: 'skip' });
    equal((await refused(call, 'skip')).errorUri, 'wamp.error.canceled', 'skip');
    await Promise.all([callee, caller].map((client) => within(client.disconnect(), 'GOODBYE')));
  },

  // wampy comes back by itself when its connection breaks, with its subscriptions and registrations, and goes on counting request ids where
  // it was: the first of a session is not 1, which the text does not allow.
  async reconnect(near, far, tag) {
    const options = { realm: 'realm1', ws: WebSocket, uriValidation: 'loose' };
    const other = new Wampy(far.strict[0], { ...options, autoReconnect: false });
    await within(other.connect(), 'WELCOME');
    for (const profile of ['autobahn', 'crossbar', 'strict']) {
      const name = (what) => `${tag}.${profile}.${what}`;
      const sessions = new Arrivals();
      const client = new Wampy(near[profile][0], { ...options, reconnectInterval: 100, onReconnectSuccess: () => sessions.push('again') });
      await within(client.connect(), 'WELCOME');
      const events = new Arrivals();
      await within(client.subscribe(name('news'), ({ argsList }) => events.push(argsList)), 'SUBSCRIBED');
      await within(client.register(name('here'), () => ['here']), 'REGISTERED');
      client._ws.terminate();
      await sessions.next('a new session');
      if (profile === 'strict') {
        // The trap itself: the new session ends with its first request, and wampy tries again.
        await sessions.next('another one');
        client._options.autoReconnect = false;
        client._ws.terminate();
        continue;
      }
      for (let n = 0; ; n += 1) {
        const answer = await within(other.call(name('here')).then(({ argsList }) => argsList[0], (error) => error.errorUri), 'an answer');
        if (answer === 'here') break;
        assert(n < 100, `${profile}: after the new session: ${answer}`);
        await sleep(50);
      }
      await within(other.publish(name('news'), ['again']), 'PUBLISHED');
      equal(await events.next('EVENT'), ['again'], 'renewed subscription');
      await within(client.disconnect(), 'GOODBYE');
    }
    await within(other.disconnect(), 'GOODBYE');
  },

  // autobahn-js announces progressive results without canceling, which the text does not take for enough.
  async progress(near, far, tag) {
    for (const [profile, wanted] of [['autobahn', [0, 1, 2]], ['crossbar', [0, 1, 2]], ['strict', []]]) {
      const callee = await open(near[profile][0]);
      const caller = await open(far.strict[0]);
      const count = ([n], _kwargs, details) => {
        for (let i = 0; details.progress && i < n; i += 1) details.progress([i]);
        return 'done';
      };
      await within(callee.session.register(`${tag}.${profile}`, count), 'REGISTERED');
      const parts = [];
      const call = caller.session.call(`${tag}.${profile}`, [3], {}, { receive_progress: true });
      const result = await within(call.then((value) => value, null, (part) => parts.push(part)), 'RESULT');
      equal([result, parts], ['done', wanted], profile);
      await callee.leave();
      await caller.leave();
    }
  },

  // A prefix is one of characters, not of components.
  async characters(near, far, tag) {
    const callee = await open(near.strict[0]);
    const caller = await open(far.strict[0]);
    const events = new Arrivals();
    await within(callee.session.subscribe(`${tag}.a.b`, (args, _kwargs, details) => events.push([args[0], details.topic]), { match: 'prefix' }), 'SUBSCRIBED');
    for (const suffix of ['a.b', 'a.b-x', 'a.c', 'a.b.c']) caller.session.publish(`${tag}.${suffix}`, [suffix]);
    for (const suffix of ['a.b', 'a.b-x', 'a.b.c']) equal(await events.next(suffix), [suffix, `${tag}.${suffix}`], 'event');
    await callee.leave();
    await caller.leave();
  },

  // A client that names no subprotocol is refused, except where the listener is Crossbar's with `require_websocket_subprotocol: false`.
  async subprotocol(_near, far) {
    for (const [profile, taken] of [['strict', false], ['autobahn', false], ['crossbar', true]]) {
      const socket = new WebSocket(far[profile][0]);
      const first = new Promise((resolve) => {
        socket.on('open', () => socket.send(JSON.stringify([1, 'realm1', { roles: { caller: {} } }])));
        socket.on('message', (data) => resolve(JSON.parse(data.toString())[0]));
        socket.on('unexpected-response', (_request, response) => resolve(`HTTP ${response.statusCode}`));
        socket.on('error', () => {});
      });
      equal(await within(first, 'an answer'), taken ? 2 : 'HTTP 400', profile);
      if (taken) equal(socket.protocol, '', 'a subprotocol that was not offered');
      socket.terminate();
    }
  },
};

(async () => {
  const { near, far } = JSON.parse(process.argv[2]);
  let passed = 0;
  let failed = 0;
  for (const [name, step] of Object.entries(steps)) {
    try {
      await step(near, far, `test.interop.js.${name}.${Date.now()}`);
      passed += 1;
      console.log(`ok    ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  ${name}: ${error && error.stack || JSON.stringify(error)}`);
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed || !passed ? 1 : 0);
})();
