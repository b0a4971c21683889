/**
 * Download a model by its address in a real Firefox, over WebDriver BiDi, break it off,
 * go on, verify it and load it; print what came of it as JSON.
 *
 *   node firefox_download.mjs FIREFOX PAGE ADDRESS
 */

import { withFirefox } from '../../tools/firefox.mjs';

const TIMEOUT = 60_000;
const NAME = 'Dense'; // the model's own
const [executablePath, url, address] = process.argv.slice(2);

await withFirefox(executablePath, async (page) => {
  console.log(JSON.stringify(await download(page)));
});

async function download(page) {
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(url);
  await page.waitForSelector('#downloads:not([hidden])', { timeout: TIMEOUT });
  await page.$eval('#downloads', (details) => { details.open = true; });
  await page.type('#download-url', address);
  await page.keyboard.press('Enter');
  await page.waitForFunction(stored, { timeout: TIMEOUT });
  await press(page, 'Pause');
  await state(page, 'partial');
  await page.reload();
  await state(page, 'partial');
  const status = await page.$eval('li.download .download-head', (node) => node.textContent);
  await press(page, 'Resume');
  await state(page, 'complete');
  await page.waitForFunction(isLoaded, { timeout: TIMEOUT }, NAME);
  await page.reload();
  await state(page, 'complete');
  await press(page, 'Verify');
  const isVerified = () => document.querySelector('li.download').textContent.includes('Verified');
  await page.waitForFunction(isVerified, { timeout: TIMEOUT });
  return { status, complaints };
}

function state(page, name) {
  return page.waitForSelector(`li.download[data-state="${name}"]`, { timeout: TIMEOUT });
}

async function press(page, label) {
  await page.evaluate((text) => {
    const buttons = [...document.querySelectorAll('li.download button')];
    buttons.find((button) => button.textContent.startsWith(text)).click();
  }, label);
}

/** Runs in the page: whether the model of this name is ready; another one may be first. */
function isLoaded(name) {
  const { textContent } = document.querySelector('#model-name');
  return document.body.dataset.state === 'ready' && textContent === name;
}

/** Runs in the page: whether some of the file is stored for good. */
async function stored() {
  const { listModels } = await import('./downloads/store.js');
  return (await listModels())[0]?.parts[0].done > 0;
}
