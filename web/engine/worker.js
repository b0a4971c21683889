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
 * @property {LoadOptions} options
 *
 * @typedef {object} LoadOptions
 * @property {number} [n_ctx] the context in tokens; the model's own unless said
 * @property {number} [default_ctx] how long that may be; 8192 unless said
 * @property {'f16'|'f32'} [kv]
 * @property {boolean} [large] whether the chat template is the large models'
 * @property {string} [template] a chat template that came beside the file; it is never run
 * @property {boolean} [keep] whether the model before stays until this one is complete,
 *   as long as the device has room for both
 * @property {number} [batch] tokens per submit, for measurements; by their time unless said
 * @property {Record<string, Measured>} [measured] what was measured earlier, by adapter
 * @property {string} [kernels] which kernels to use beyond those that every device runs:
 *   names with commas, or `baseline`; the fastest unless said. See variants.py
 * @property {Record<string, object>} [chosen] which were the fastest earlier, by adapter
 * @property {number} [lost] how often the page has lost the GPU
 *
 * @typedef {object} Measured what a device does in a second
 * @property {number} copy_bytes_per_second bytes read and bytes written
 * @property {number} dispatch_seconds of one launch among many
 * @property {number} submit_seconds of a submit with its read-back
 *
 * @typedef {object} PreflightMessage asks what a model takes here and how fast it may be:
 *   one that is named as in a load message, of which the header alone is read, or else
 *   the one that is loaded. An adapter that was not measured earlier is, in two seconds
 * @property {number} id
 * @property {'preflight'} kind
 * @property {LoadOptions & {n_keys?: number}} options `n_keys` is how many tokens are in
 *   the cache; a usual number unless said
 *
 * @typedef {object} AdapterMessage asks what the adapter is
 * @property {number} id
 * @property {'adapter'} kind
 * @property {LoadOptions} options
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
 * @typedef {object} VerifyMessage holds blobs to the SHA-256 that is their name; the files
 *   are named as in a load message
 * @property {number} id
 * @property {'verify'} kind
 * @property {string} [name] the model's, as Ollama knows it
 *
 * @typedef {object} GenerateMessage
 * @property {number} id
 * @property {'generate'} kind
 * @property {{role: string, content: string, tool_calls?: object[]}[]} messages the
 *   conversation so far
 * @property {number[]} [begun] the tokens of a reply that was cut short: it goes on behind
 *   them, and is told from its first word on
 * @property {object[]} [tools] tool declarations, as in the chat API
 * @property {boolean} [think]
 * @property {Sampling} [sampling]
 * @property {number} [max_tokens]
 * @property {boolean} [ignore_eos] whether the reply goes on behind its end, for measurements
 * @property {string[]} [stop] texts before which the reply ends
 *
 * @typedef {object} Sampling
 * @property {number} [temperature] 0 is greedy
 * @property {number} [top_k] 0 is off
 * @property {number} [top_p] 1 is off
 * @property {number} [min_p] 0 is off
 * @property {number} [repetition_penalty] 1 is off
 * @property {number} [repeat_last_n] tokens that penalties look back on; -1 is all
 * @property {number} [presence_penalty] 0 is off
 * @property {number} [frequency_penalty] 0 is off
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
 * @property {string} stage `runtime`, `verify`, or a stage of loading; `room` says that the
 *   model before has been closed for this one; `prompt`, how far a long prompt is read
 * @property {number} done in bytes for what is fetched and for weights, in tokens for a
 *   prompt, else steps
 * @property {number} total 0 when not known
 * @property {string} text what is going on, for people
 * @property {Fit} [fit] in a load, once it is known
 *
 * @typedef {object} Fit what a model takes, in bytes; see preflight.py
 * @property {'resident'|'host-embeddings'} mode
 * @property {number} n_ctx
 * @property {'f16'|'f32'} kv
 * @property {number} total_bytes
 * @property {number} weight_bytes
 * @property {number} host_bytes of embeddings that stay in the file
 * @property {number} kv_bytes
 * @property {number} table_bytes
 * @property {number} scratch_bytes
 * @property {number} n_dispatches of a step
 * @property {number} step_bytes of the weights that a step reads
 *
 * @typedef {object} Preflight
 * @property {string} name
 * @property {number} n_bytes of the files
 * @property {number} n_ctx_train the longest context that the model was made for
 * @property {string} adapter
 * @property {Fit} fit
 * @property {{tokens_per_second: number, memory_seconds: number, dispatch_seconds: number,
 *   load_seconds: number|null}} [prediction] of a step, and of the load; absent where the
 *   device was not measured yet and a reply is under way
 * @property {Measured} [measured] likewise
 *
 * @typedef {object} TokenMessage
 * @property {number} id
 * @property {'token'} kind
 * @property {'content'|'thinking'|'tool'} channel
 * @property {string} text of a call: all of it as JSON, for people
 * @property {string} [name] of the function that is called
 * @property {string} [args] of that call, as JSON
 * @property {number[]} ids the tokens that came since the message before
 *
 * @typedef {object} DoneMessage
 * @property {number} id
 * @property {'done'} kind
 * @property {object} [info] after load: what `Engine.info` holds
 * @property {Sampling} [sampling] after load: what the file itself recommends
 * @property {object} [chosen] after load: which kernels were the fastest, to be kept for
 *   the adapter
 * @property {number} [n_bytes] after verify: how much was held to its digest
 * @property {Preflight} [preflight] after preflight
 * @property {object} [store] after list: `root` and `models`, as /ollama/models.json has
 *   them
 * @property {'stop'|'length'|'stopped'|'context'} [reason] after generate: why it ended
 * @property {number} [n_prompt]
 * @property {number} [n_reused] prompt tokens that were still in the KV cache
 * @property {number} [n_generated]
 * @property {number} [prefill_seconds] until the first token
 * @property {number} [decode_seconds] from the first token to the last
 * @property {number} [bytes_per_second] that decoding read: weights, keys and values
 * @property {number} [n_dispatches] of a token's step
 * @property {number} [weight_bytes] that a step reads
 * @property {number} [kv_bytes_read] likewise, on average
 * @property {number} [predicted] tokens per second at most, where the device was measured
 * @property {number[]} [ids] every generated token, an ending stop token left out
 *
 * @typedef {object} TypedError
 * @property {number} id
 * @property {'error'} kind
 * @property {string} type the class in pyodide_app/errors.py; `RuntimeError` where the
 *   worker itself has failed
 * @property {string} what
 * @property {string} found
 * @property {string} expected
 * @property {string} remedy
 * @property {boolean} [kept] whether a model is still loaded
 * @property {boolean} [fatal] whether the worker is of no use any more
 * @property {number} [n_ctx] the longest context that would fit; 0 where none is known
 * @property {number} [n_tokens] of a conversation that is too long; 0 where not known
 * @property {number} [n_most] how many of them fit
 */

const RUNTIME = 0;
const VENDOR = new URL('../vendor/pyodide/', import.meta.url).href;

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
  handle = pyodide.pyimport('pyodide_app.browser.worker').handle;
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
    kept: false,
    fatal: true,
  });
}

/** A Python traceback's last line is the one that says what happened. */
function lastLine(error) {
  const text = String(error?.message ?? error).trim();
  return text.split('\n').at(-1).slice(0, 500);
}
