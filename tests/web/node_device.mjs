// Run tests/web/device_cases.py on the browser's device: Pyodide and Dawn, in Node.
//
//   node node_device.mjs ROOT > RESULTS
//
// The last line of RESULTS is a JSON object: {adapter, cases: {name: traceback or ""},
// outputs: {name: hex}}. Dawn writes what it complains about above it.

import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { loadPage } from '../support/page_on_dawn.mjs';
import { makeStage } from './device_stage.js';

const root = process.argv[2];
const web = join(root, 'web');
const { loadPyodide } = await import(
  pathToFileURL(join(web, 'node_modules/pyodide/pyodide.mjs'))
);

const pyodide = await loadPyodide({ stdout: console.error, stderr: console.error });
pyodide.mountNodeFS('/lapidary', root);
// After loadPyodide, which takes a navigator for the sign of a browser.
pyodide.registerJsModule('lapidary_gpu', await loadPage(web));
pyodide.registerJsModule('stage', makeStage(pyodide));
const main = await pyodide.runPythonAsync(`
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, "/lapidary")
from tests.web import device_cases
device_cases.main
`);
process.stdout.write(`\n${await main()}\n`, () => process.exit(0));
