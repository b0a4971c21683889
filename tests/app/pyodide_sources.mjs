// Runs pyodide_sources.py in Pyodide: node pyodide_sources.mjs ROOT FOLDER SERVER

import { openAsBlob, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [root, folder, server] = process.argv.slice(2);
const entry = join(root, "web/node_modules/pyodide/pyodide.mjs");
const { loadPyodide } = await import(pathToFileURL(entry));
const pyodide = await loadPyodide();
pyodide.mountNodeFS("/lapidary", root);

// What stream.js does with a source's reader.
const readLength = async (reader, begin, end) => {
  const buffer = await reader(begin, end);
  return buffer instanceof ArrayBuffer ? buffer.byteLength : -1;
};
const checks = readFileSync(join(root, "tests/app/pyodide_sources.py"), "utf8");
const blob = await openAsBlob(join(folder, "model.gguf"));
pyodide.runPython(checks);
await pyodide.globals.get("main")(blob, server, readLength);
process.exit(0);
