// Byte-compile Python archives with Pyodide itself, whose bytecode no other Python has.
//
//   node byte_compile.mjs IN.zip OUT.zip PREFIX [IN.zip OUT.zip PREFIX …]
//
// Every .py of IN becomes a .pyc beside its old place; tracebacks name PREFIX + path.

import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { loadPyodide } from "pyodide";

const script = new URL("byte_compile.py", import.meta.url);

const pyodide = await loadPyodide({
  indexURL: fileURLToPath(new URL("../node_modules/pyodide/", import.meta.url)),
  env: { PYTHONHASHSEED: "0" }, // the same bytes every time
});
pyodide.runPython(await readFile(script, "utf8"));
const compile = pyodide.globals.get("compile_archive");

const jobs = process.argv.slice(2);
for (let i = 0; i + 2 < jobs.length; i += 3) {
  const [source, target, prefix] = jobs.slice(i, i + 3);
  pyodide.FS.writeFile("/in.zip", new Uint8Array(await readFile(source)));
  compile("/in.zip", "/out.zip", prefix);
  await writeFile(target, pyodide.FS.readFile("/out.zip"));
}
process.exit(0);
