// What the scripts of both JavaScript clients share: payloads, comparison, and the frame in which steps run.
'use strict';

const assert = require('node:assert/strict');

const PATIENCE = 10_000;

// JSON types in their odd shapes. Integers beyond 2^53 are left to the Python client: JavaScript has no number for them.
const ARGS = [
  null, true, false, 0, 1, -1, 255, 65536, -2147483649, 9007199254740991, -9007199254740991, 1.5, -0.1, 1e300,
  '', 'plain', 'grüße, 世界, 🏰', 'quote " backslash \\ / \b\f\n\r\t\u0001', [], [[], [1, [2]]], {}, { 'a b': [null, { x: false }] },
];
const KWARGS = { nothing: null, yes: true, integer: -42, real: 2.25, text: '☃', items: [1, 'two', null], table: { k: { deep: [1.5] } } };

// msgpack and CBOR libraries may hand out Maps or typed arrays; payloads are compared by what they mean.
function plain(value) {
  if (Buffer.isBuffer(value) || value instanceof Uint8Array) return { bytes: Buffer.from(value).toString('hex') };
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return Object.fromEntries([...value].map(([k, v]) => [k, plain(v)]));
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]));
  return value;
}

function equal(got, want, what) {
  assert.deepStrictEqual(plain(got), plain(want), what);
}

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what}: nothing within ${PATIENCE} ms`)), PATIENCE); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// A queue whose `next` waits for what is pushed.
class Arrivals {
  constructor() { this.items = []; this.waiting = []; }
  push(item) { const waiter = this.waiting.shift(); if (waiter) waiter(item); else this.items.push(item); }
  next(what) {
    if (this.items.length) return Promise.resolve(this.items.shift());
    return within(new Promise((resolve) => this.waiting.push(resolve)), what);
  }
}

// Runs `steps(near, far, serializer)` for each serializer and prints the closing line; arguments are the two WebSocket URLs.
async function main(name, steps) {
  const [near, far] = process.argv.slice(2);
  if (!far) { console.error(`usage: ${name} CALLEE_URL CALLER_URL`); process.exit(2); }
  let passed = 0, failed = 0;
  for (const serializer of ['json', 'msgpack', 'cbor']) {
    try {
      await steps(near, far, serializer);
      passed += 1;
      console.log(`ok    ${name} ${near} ${far} ${serializer}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  ${name} ${near} ${far} ${serializer}: ${error && error.stack || JSON.stringify(error)}`);
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  // A client that tries to reconnect would keep the process alive.
  process.exit(failed || !passed ? 1 : 0);
}

module.exports = { ARGS, KWARGS, Arrivals, equal, within, main, assert };
