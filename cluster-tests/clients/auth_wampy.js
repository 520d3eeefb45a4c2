// wampy proves itself by the methods that come to it as a challenge: ticket, WAMP-CRA with and without a salt.
//
//     auth_wampy.js URLS ATTEMPTS      see auth_common.py
'use strict';

const { Wampy } = require('wampy');
const WebSocket = require('ws');
const { main } = require('./auth_common.js');

// Its own plugin, a module of the other kind.
const plugin = import(require.resolve('wampy/wampcra.js'));

async function open(url, { method, authid, secret }) {
  const { sign } = await plugin;
  const anonymous = method === 'anonymous';
  const client = new Wampy(url, {
    realm: 'realm1', ws: WebSocket, autoReconnect: false, uriValidation: 'loose',
    ...(anonymous ? {} : { authid, authmethods: [method], onChallenge: method === 'ticket' ? () => secret : sign(secret) }),
  });
  try {
    const details = await client.connect();
    const counted = await client.call('wamp.session.count');
    await client.disconnect();
    return { ...details, count: counted.argsList[0] };
  } catch (error) {
    throw error.errorUri || error;
  }
}

main('wampy', open);
