/**
 * The engine worker: starts Pyodide with the driver and pumps messages to it.
 *
 * Every message is a plain object with an `id`, chosen by the page for each request, and
 * a `kind`. Id 0 is the worker's own: the start of the runtime.
 *
 * From the page:
 *
 * @typedef {object} LoadMessage
 * @property {number} id
 * @property {'load'} kind
 * @property {File[]} [files] one GGUF, or all shards of a split one, in any order
 * @property {string[]} [urls] in place of files: where they are served, with ranges unless
 *   they are small
 * @property {Folder} [folder] in place of both: one that holds Ollama's store
 * @property {string} [model] its name in that store
 * @property {{n_ctx?: number, kv?: 'f16'|'f32'}} options the context is the model's own,
 *   up to 8192, unless said
 *
 * @typedef {object} Folder
 * @property {FileSystemDirectoryHandle} [handle]
 * @property {File[]} [files] in place of a handle: all files in it
 * @property {string[]} [paths] the path of each
 *
 * @typedef {object} ListMessage asks which models a folder holds
 * @property {number} id
 * @property {'list'} kind
 * @property {Folder} folder
 *
 * @typedef {object} GenerateMessage
 * @property {number} id
 * @property {'generate'} kind
 * @property {{role: string, content: string}[]} messages the conversation so far
 * @property {object[]} [tools] tool declarations, as in the chat API
 * @property {boolean} [think]
 * @property {Sampling} [sampling]
 * @property {number} [max_tokens]
 *
 * @typedef {object} Sampling
 * @property {number} [temperature] 0 is greedy
 * @property {number} [top_k] 0 is off
 * @property {number} [top_p] 1 is off
 * @property {number} [min_p] 0 is off
 * @property {number} [seed] absent is random
 *
 * @typedef {object} StopMessage
 * @property {number} id the request to stop
 * @property {'stop'} kind
 *
 * To the page:
 *
 * @typedef {object} ProgressMessage
 * @property {number} id
 * @property {'progress'} kind
 * @property {string} stage `runtime`, or a stage of loading
 * @property {number} done in bytes for what is fetched and for weights, else steps
 * @property {number} total 0 when not known
 * @property {string} text what is going on, for people
 *
 * @typedef {object} TokenMessage
 * @property {number} id
 * @property {'token'} kind
 * @property {'content'|'thinking'|'tool'} channel
 * @property {string} text
 *
 * @typedef {object} DoneMessage
 * @property {number} id
 * @property {'done'} kind
 * @property {object} [info] after load: what `Engine.info` holds
 * @property {object} [store] after list: `root` and `models`, as /ollama/models.json has
 *   them
 * @property {'stop'|'length'|'stopped'|'context'} [reason] after generate: why it ended
 * @property {number} [n_prompt]
 * @property {number} [n_reused] prompt tokens that were still in the KV cache
 * @property {number} [n_generated]
 * @property {number} [prefill_seconds]
 * @property {number} [decode_seconds]
 * @property {number[]} [ids] every generated token, an ending stop token left out
 *
 * @typedef {object} TypedError
 * @property {number} id
 * @property {'error'} kind
 * @property {string} type the class in pyodide_app/errors.py, or `RuntimeError`
 * @property {string} what
 * @property {string} found
 * @property {string} expected
 * @property {string} remedy
 * @property {boolean} [kept] whether a model is still loaded
 */

const RUNTIME = 0;
const VENDOR = new URL('./vendor/pyodide/', import.meta.url).href;

const queued = [];
let handle = (message) => queued.push(message);

self.addEventListener('message', ({ data }) => handle(data));
self.addEventListener('error', (event) => {
  event.preventDefault();
  postError(event.error ?? event.message);
});
self.addEventListener('unhandledrejection', (event) => {
  event.preventDefault();
  postError(event.reason);
});

boot().catch(postError);

/** Start Python, hand it what has queued up, and from then on every message. */
async function boot() {
  postProgress(0, 'Starting the Python runtime');
  const [{ loadPyodide }, ...gpu] = await Promise.all([
    import(`${VENDOR}pyodide.mjs`),
    import('./gpu.js'),
    import('./replay.js'),
    import('./stream.js'),
  ]);
  const pyodide = await loadPyodide({
    indexURL: VENDOR,
    packages: ['pyodide_app'],
    stdout: (line) => console.log(line),
    stderr: (line) => console.warn(line),
  });
  pyodide.registerJsModule('lapidary_gpu', Object.assign({}, ...gpu));
  handle = pyodide.pyimport('pyodide_app.browser').handle;
  postProgress(1, 'The runtime is ready');
  for (const message of queued.splice(0)) handle(message);
}

function postProgress(done, text) {
  self.postMessage({
    id: RUNTIME, kind: 'progress', stage: 'runtime', done, total: 1, text,
  });
}

/** Report what Python did not: the runtime itself failed. */
function postError(error) {
  console.warn(error);
  self.postMessage({
    id: RUNTIME,
    kind: 'error',
    type: 'RuntimeError',
    what: 'The engine stopped working',
    found: lastLine(error),
    expected: '',
    remedy: 'Load the model again; if that does not help, reload the page.',
  });
}

/** A Python traceback's last line is the one that says what happened. */
function lastLine(error) {
  const text = String(error?.message ?? error).trim();
  return text.split('\n').at(-1).slice(0, 500);
}
