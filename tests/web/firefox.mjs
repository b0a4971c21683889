/**
 * Chat once in a real Firefox, over WebDriver BiDi, and print what came of it as JSON.
 *
 *   node firefox.mjs FIREFOX URL MODEL WRONG_FILE PROMPT SETTINGS
 */

import { withFirefox } from '../../tools/firefox.mjs';

const TIMEOUT = 120_000;
const [executablePath, url, model, wrongFile, prompt, settings] = process.argv.slice(2);

await withFirefox(executablePath, async (page) => {
  console.log(JSON.stringify(await chat(page)));
});

async function chat(page) {
  const requests = [];
  const complaints = [];
  page.on('request', (request) => requests.push(request.url()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (line) => line.type() === 'error' && complaints.push(line.text()));
  await page.evaluateOnNewDocument(keepMessages, settings);
  await page.goto(url);
  await choose(page, wrongFile);
  await page.waitForSelector('.problem', { timeout: TIMEOUT });
  const problem = await page.$eval('.problem', (card) => card.dataset.type);
  await choose(page, model);
  await page.waitForSelector('body[data-state="ready"]', { timeout: TIMEOUT });
  await page.type('#prompt', prompt);
  await page.keyboard.press('Enter');
  await page.waitForSelector('.reply[aria-busy="false"]', { timeout: TIMEOUT });
  const done = await page.evaluate(() =>
    window.messages.find(({ kind, ids }) => kind === 'done' && ids));
  const reply = await page.$eval('.reply .prose:not(.thoughts)', (node) => node.textContent);
  const answers = await page.evaluate(timeAnswers);
  const version = await page.browser().version();
  return { version, problem, done, reply, answers, requests, complaints };
}

async function choose(page, path) {
  const input = await page.$('#file');
  await input.uploadFile(path);
}

/** Runs in the page: milliseconds of read-backs of an idle device, by the page's code. */
async function timeAnswers() {
  const { openDevice, createBuffer, closeDevice } = await import('/engine/gpu.js');
  const { run } = await import('/engine/replay.js');
  const gpu = await openDevice([]);
  const buffer = createBuffer(gpu, 'idle', 256);
  const times = [];
  for (let i = 0; i < 9; i += 1) {
    const start = performance.now();
    await run(gpu, null, 0, buffer, 0, 4);
    times.push(performance.now() - start);
  }
  closeDevice(gpu);
  return times;
}

/** Runs in the page before its own scripts: sets the settings, keeps what workers say. */
function keepMessages(kept) {
  if (!location.protocol.startsWith('http')) return; // the blank page before it
  localStorage.setItem('lapidary.settings', kept);
  window.messages = [];
  const { Worker } = window;
  window.Worker = class extends Worker {
    constructor(...options) {
      super(...options);
      this.addEventListener('message', ({ data }) => window.messages.push(data));
    }
  };
}
