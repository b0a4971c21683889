// Parses a GGUF's header and builds its tokenizer in Pyodide: node node_header.mjs ROOT FILE
// Prints JSON: milliseconds of each stage, the wasm heap afterwards, and ids of a text.

import { openAsBlob } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [root, file] = process.argv.slice(2);
const entry = join(root, "web/node_modules/pyodide/pyodide.mjs");
const { loadPyodide } = await import(pathToFileURL(entry));
const pyodide = await loadPyodide();
pyodide.mountNodeFS("/lapidary", root);

pyodide.runPython(`
import sys, time
sys.path.insert(0, "/lapidary")
from pyodide_app.gguf.reader import read_gguf
from pyodide_app.gguf.sources_js import BlobSource
from pyodide_app.tokenizer import Tokenizer

async def main(blob, text):
    start = time.perf_counter()
    file = await read_gguf([BlobSource(blob)])
    parsed = time.perf_counter()
    tokenizer = Tokenizer.from_metadata(file.metadata)
    ready = time.perf_counter()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    return [1e3 * (parsed - start), 1e3 * (ready - parsed), len(ids), tokenizer.n_vocab]
`);
const text = "Hello, world! The quick brown fox jumps over the lazy dog. ".repeat(40);
const main = pyodide.globals.get("main");
const [parse, tokenizer, n_ids, n_vocab] = (await main(await openAsBlob(file), text)).toJs();
const heap = pyodide._module.HEAPU8.length;
console.log(JSON.stringify({ parse_ms: parse, tokenizer_ms: tokenizer, n_ids, n_vocab, heap }));
process.exit(0);
