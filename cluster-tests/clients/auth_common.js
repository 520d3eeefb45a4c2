// What the JavaScript scripts of authentication share; auth_common.py says what their arguments are.
'use strict';

const { within, assert } = require('./common.js');

function wrong(attempt) {
  const { secret } = attempt;
  return { ...attempt, secret: secret.slice(0, -1) + (secret.endsWith('1') ? '2' : '1') };
}

// Makes every attempt on every URL with `open(url, attempt)`, which resolves with WELCOME.Details and `count`, or rejects with the
// reason of ABORT; prints the closing line.
async function main(name, open) {
  const [urls, attempts] = [process.argv[2].split(','), JSON.parse(process.argv[3])];
  let passed = 0, failed = 0;
  const step = async (what, run) => {
    try {
      await within(run(), what);
      passed += 1;
      console.log(`ok    ${name} ${what}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  ${name} ${what}: ${error && error.stack || JSON.stringify(error)}`);
    }
  };
  for (const url of urls) {
    for (const attempt of attempts) {
      await step(`${attempt.method} ${attempt.authid} ${url}`, async () => {
        const details = await open(url, attempt);
        assert.deepStrictEqual([details.authrole, details.authmethod], [attempt.role, attempt.method]);
        if (attempt.method !== 'anonymous') assert.strictEqual(details.authid, attempt.authid);
        assert(details.count >= 1);
      });
      if (!attempt.secret) continue;
      await step(`${attempt.method} ${attempt.authid} ${url} wrong`, async () => {
        const refusal = await open(url, wrong(attempt)).then(() => 'let in', (reason) => reason);
        assert.strictEqual(refusal, 'wamp.error.authentication_denied');
      });
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed || !passed ? 1 : 0);
}

module.exports = { main };
