// Run templates of strangers, or other cases, in the bundle's Pyodide without a browser.
//
//   node template_cases.mjs DIST CASES.py < CASES > OUTCOMES
//
// The last line of OUTCOMES is a JSON object: `before` and `after`, whether jinja2 is
// there, and `outcomes`.

import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';

const [dist, script] = process.argv.slice(2);
const folder = `${dist}/vendor/pyodide/`;
const { loadPyodide } = await import(pathToFileURL(`${folder}pyodide.mjs`).href);
const pyodide = await loadPyodide({
  indexURL: folder, packages: ['pyodide_app'], stdout: console.error, stderr: console.error,
});
try {
  const templated = pyodide.pyimport('pyodide_app.text.chat.templated');
  const before = templated.is_here();
  // As browser/templates.py does, which needs a worker around it.
  await pyodide.runPythonAsync('import pyodide_js; await pyodide_js.loadPackage("jinja2")');
  const after = templated.is_here();
  pyodide.runPython(await readFile(script, 'utf8'));
  const outcomes = JSON.parse(pyodide.globals.get('play')(await text(process.stdin)));
  const answer = JSON.stringify({ before, after, outcomes });
  process.stdout.write(`\n${answer}\n`, () => process.exit(0));
} catch (error) {
  // Left uncaught, Node would print Pyodide's own source, a megabyte on one line.
  console.error(error.message);
  process.exit(1);
}
