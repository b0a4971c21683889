// Boot the bundled Pyodide with the driver's wheel and import modules in it.
//
//   node import_driver.mjs DIST MODULE …
//
// Prints {name: text} of the shaders as the driver's own loader reads them.

import { pathToFileURL } from "node:url";

const [dist, ...modules] = process.argv.slice(2);
const folder = `${dist}/vendor/pyodide/`;
const { loadPyodide } = await import(pathToFileURL(`${folder}pyodide.mjs`).href);

const pyodide = await loadPyodide({ indexURL: folder, packages: ["pyodide_app"] });
const { import_module: load } = pyodide.pyimport("importlib");
try {
  for (const module of modules) load(module);
} catch (error) {
  // Left uncaught, Node would print Pyodide's own source, a megabyte on one line.
  console.error(error.message);
  process.exit(1);
}
const kernels = load("pyodide_app.graph.kernels");
const shaders = {};
for (const name of kernels.names()) shaders[name] = kernels.read_source(`${name}.wgsl`);
process.stdout.write(JSON.stringify(shaders), () => process.exit(0));
