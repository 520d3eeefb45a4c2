// autobahn-js proves itself by each method it has: ticket, WAMP-CRA with and without a salt, cryptosign.
//
//     auth_autobahn_js.js URLS ATTEMPTS      see auth_common.py
'use strict';

const autobahn = require('autobahn');
const cryptosign = require('autobahn/lib/auth/cryptosign.js');
const nacl = require('tweetnacl');
const { main } = require('./auth_common.js');

// What the client says beside its name, and how it answers a challenge.
function prover({ method, secret }) {
  if (method === 'ticket') return { answer: () => secret };
  if (method === 'wampcra') {
    return {
      answer: (extra) => {
        const key = extra.salt ? autobahn.auth_cra.derive_key(secret, extra.salt, extra.iterations, extra.keylen) : secret;
        return autobahn.auth_cra.sign(key, extra.challenge);
      },
    };
  }
  if (method === 'cryptosign') {
    const key = nacl.sign.keyPair.fromSeed(Buffer.from(secret, 'hex'));
    return { authextra: { pubkey: cryptosign.public_key(key), channel_binding: null }, answer: (extra) => cryptosign.sign_challenge(key, extra) };
  }
  return { answer: () => { throw new Error(`no challenge is due for ${method}`); } };
}

function open(url, attempt) {
  const { authextra, answer } = prover(attempt);
  const connection = new autobahn.Connection({
    url, realm: 'realm1', max_retries: 0, authmethods: [attempt.method], authid: attempt.authid, authextra,
    onchallenge: (session, method, extra) => answer(extra),
  });
  return new Promise((resolve, reject) => {
    connection.onopen = (session, details) => {
      session.call('wamp.session.count').then((count) => { connection.close(); resolve({ ...details, count }); }, reject);
    };
    connection.onclose = (reason, details) => { reject(details && details.reason || reason); return true; };
    connection.open();
  });
}

main('autobahn-js', open);
