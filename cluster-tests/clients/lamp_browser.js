// Pages of the lamp in headless Chromium: each shows the lamp, a click in one is seen in all, a page opened later shows how it is.
//
//     lamp_browser.js SCREENSHOT.png URL URL ...
//
// A page has `#switch` to click and `#lamp`, whose `data-on` is "true" or "false".
'use strict';

const assert = require('node:assert/strict');
const { chromium } = require('playwright-core');

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'];

async function main(screenshot, urls) {
  const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
  const browser = await chromium.launch({ executablePath, headless: true, args: FLAGS });
  try {
    const faults = [];
    const pages = [];
    const open = async (url) => {
      // A context each: these are different people's browsers.
      const context = await browser.newContext({ viewport: { width: 480, height: 640 } });
      const page = await context.newPage();
      page.on('pageerror', (error) => faults.push(`${url}: ${error}`));
      page.on('console', (message) => { if (message.type() === 'error') faults.push(`${url}: ${message.text()} ${message.location().url}`); });
      const answer = await page.goto(url);
      assert.equal(answer.status(), 200, url);
      pages.push([url, page]);
      return page;
    };
    const shows = async (state) => {
      for (const [url, page] of pages) {
        await page.locator(`#lamp[data-on="${state}"]`).waitFor({ timeout: 10_000 }).catch((error) => {
          throw new Error(`${url} does not show data-on=${state}: ${error.message}`);
        });
      }
    };
    for (const url of urls) await open(url);
    const lamp = pages[0][1].locator('#lamp[data-on="true"], #lamp[data-on="false"]');
    await lamp.waitFor({ timeout: 10_000 });
    let on = (await lamp.getAttribute('data-on')) === 'true';
    await shows(on);
    for (let turn = 0; turn < 6; turn += 1) {
      on = !on;
      await pages[turn % pages.length][1].locator('#switch').click();
      await shows(on);
    }
    if (!on) {
      on = true;
      await pages[0][1].locator('#switch').click();
      await shows(on);
    }
    // Opened while the lamp is on: it must not claim that it is off.
    await open(urls[urls.length - 1]);
    await shows(on);
    await pages[0][1].screenshot({ path: screenshot });
    assert.deepEqual(faults, [], 'errors in the pages');
    console.log(`${pages.length} pages followed the lamp through 6 clicks`);
  } finally {
    await browser.close();
  }
}

const [screenshot, ...urls] = process.argv.slice(2);
if (!urls.length) {
  console.error('usage: lamp_browser.js SCREENSHOT.png URL URL ...');
  process.exit(2);
}
main(screenshot, urls).catch((error) => { console.error(error.stack || error); process.exit(1); });
