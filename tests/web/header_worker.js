/**
 * Stands in for worker.js: whatever it is asked, it reads the chosen file's header and
 * makes its tokenizer, as a load does, and reports how large the WebAssembly heap became.
 */

const CODE = `
from pyodide_app.gguf.reader import read_gguf
from pyodide_app.browser.blobs import BlobSource
from pyodide_app.text.tokenizer import Tokenizer

async def read(blob):
    file = await read_gguf([BlobSource(blob)])
    tokenizer = Tokenizer.from_metadata(file.metadata)
    n_ids = len(tokenizer.encode("A facet is one flat face of a cut stone."))
    return [tokenizer.n_vocab, len(file.tensors), n_ids]

read
`;

const booted = boot();
self.onmessage = async ({ data }) => {
  const { pyodide, read } = await booted;
  const [n_vocab, n_tensors, n_ids] = (await read(data.files[0])).toJs();
  const heap = pyodide._module.HEAPU8.length;
  const info = { n_vocab, n_tensors, n_ids, heap };
  self.postMessage({ id: data.id, kind: 'done', info });
};

async function boot() {
  const vendor = new URL('../vendor/pyodide/', import.meta.url).href;
  const { loadPyodide } = await import(`${vendor}pyodide.mjs`);
  const pyodide = await loadPyodide({ indexURL: vendor, packages: ['pyodide_app'] });
  return { pyodide, read: pyodide.runPython(CODE) };
}
