// The page's GPU code in Node: Dawn stands for the browser's WebGPU.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const FILES = ['engine/gpu.js', 'engine/replay.js', 'engine/stream.js'];

/**
 * Make Dawn what the page takes for WebGPU, and return what its GPU code exports.
 *
 * @param {string} web the page's folder
 */
export async function loadPage(web) {
  const load = (path) => import(pathToFileURL(path));
  const dawn = await load(createRequire(join(web, 'package.json')).resolve('webgpu'));
  Object.assign(globalThis, dawn.globals);
  const navigator = { gpu: dawn.create([]) };
  Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true });
  const modules = await Promise.all(FILES.map((name) => load(join(web, name))));
  return Object.assign({}, ...modules);
}
