// wampy against reflection: it defines a schema on one node, and what breaks it says where and how, for a client of another node.
//
//   node reflection_wampy.js NEAR_URL FAR_URL
'use strict';

const { Wampy } = require('wampy');
const { JsonSerializer } = require('wampy/JsonSerializer.js');
const { MsgpackSerializer } = require('wampy/MsgpackSerializer.js');
const { CborSerializer } = require('wampy/CborSerializer.js');
const WebSocket = require('ws');
const { equal, within, main, assert } = require('./common.js');

const MAKE = { json: JsonSerializer, msgpack: MsgpackSerializer, cbor: CborSerializer };

async function open(url, serializer) {
  const client = new Wampy(url, {
    realm: 'realm1', ws: WebSocket, serializer: new MAKE[serializer](), autoReconnect: false, uriValidation: 'loose',
  });
  await within(client.connect(), 'WELCOME');
  return client;
}

async function steps(near, far, serializer) {
  const callee = await open(near, serializer);
  const caller = await open(far, serializer);
  const name = `test.wampy.reflection.${serializer}`;
  await within(callee.register(name, ({ argsList }) => ({ argsList })), 'REGISTERED');
  const definition = { type: 'procedure', call: { args: { items: { type: 'string', pattern: '^[a-z]+$' } } } };
  const defined = await within(caller.call('wamp.reflect.define', [name, definition]), 'RESULT');
  equal(defined.argsList, [true], 'it is new');
  const error = await within(caller.call(name, ['fine', 'not fine']).then(() => null, (e) => e), 'ERROR');
  assert(error, 'the arguments break the schema');
  equal(error.errorUri, 'wamp.error.invalid_argument', 'error URI');
  equal([error.details.path, error.details.rule], ['/args/1', '/call/args/items/pattern'], 'where and which rule');
  assert(!JSON.stringify(error.details).includes('not fine'), 'the value is not shown');
  equal((await within(caller.call(name, ['fine']), 'RESULT')).argsList, ['fine'], 'the answer');
  const described = await within(callee.call('wamp.reflection.procedure.describe', [name]), 'RESULT');
  equal(described.argsList[0].call.args.items.pattern, '^[a-z]+$', 'the definition on the other node');
  await within(callee.call('wamp.reflect.undefine', [name]), 'RESULT');
  await within(callee.disconnect(), 'the end');
  await within(caller.disconnect(), 'the end');
}

main('reflection_wampy', steps);
