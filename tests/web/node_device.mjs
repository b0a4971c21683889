// Run tests/web/device_cases.py on the browser's device: Pyodide and Dawn, in Node.
//
//   node node_device.mjs ROOT > RESULTS
//
// The last line of RESULTS is a JSON object: {adapter, cases: {name: traceback or ""},
// outputs: {name: hex}}. Dawn writes what it complains about above it.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { makeStage } from './device_stage.js';

const root = process.argv[2];
const { resolve } = createRequire(join(root, 'web/package.json'));
const load = (path) => import(pathToFileURL(path));
const page = (file) => load(join(root, 'web', file));

const { loadPyodide } = await page('node_modules/pyodide/pyodide.mjs');
const dawn = await load(resolve('webgpu'));

const pyodide = await loadPyodide({ stdout: console.error, stderr: console.error });
// After loadPyodide, which takes a navigator for the sign of a browser.
Object.assign(globalThis, dawn.globals);
const navigator = { gpu: dawn.create([]) };
Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true });

pyodide.mountNodeFS('/lapidary', root);
pyodide.registerJsModule('lapidary_gpu', {
  ...(await page('gpu.js')), ...(await page('replay.js')), ...(await page('stream.js')),
});
pyodide.registerJsModule('stage', makeStage(pyodide));
const main = await pyodide.runPythonAsync(`
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, "/lapidary")
from tests.web import device_cases
device_cases.main
`);
process.stdout.write(`\n${await main()}\n`, () => process.exit(0));
