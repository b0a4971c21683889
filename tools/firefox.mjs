/** A real Firefox with WebGPU, driven over WebDriver BiDi: for tests and benchmarks. */

import { createRequire } from 'node:module';

// The packages are the page's, not this folder's.
const { resolve } = createRequire(new URL('../web/package.json', import.meta.url));
const { default: puppeteer } = await import(resolve('puppeteer-core'));

const PREFERENCES = {
  'dom.webgpu.enabled': true,
  'dom.webgpu.workers.enabled': true,
  'gfx.webgpu.ignore-blocklist': true,
};

/**
 * Open a browser, use its page, and close it.
 *
 * VK_ICD_FILENAMES in the environment names the Vulkan driver that WebGPU gets.
 *
 * @param {string} executablePath
 * @param {(page: import('puppeteer-core').Page) => Promise<void>} use
 */
export async function withFirefox(executablePath, use) {
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath,
    headless: true,
    protocolTimeout: 600_000, // of one evaluation, in software
    extraPrefsFirefox: PREFERENCES,
  });
  try {
    await use(await browser.newPage());
  } finally {
    await browser.close();
  }
}
