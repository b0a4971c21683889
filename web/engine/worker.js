/**
 * The engine worker: starts Pyodide with the driver and pumps messages to it. They are
 * described in messages.js.
 */

/** @import { ErrorMessage, ProgressMessage, Request } from './messages.js' */

const RUNTIME = 0;
const VENDOR = new URL('../vendor/pyodide/', import.meta.url).href;

/** @type {Request[]} */
const queued = [];
/** @type {(message: Request) => void} */
let handle = (message) => { queued.push(message); };

addEventListener('message', ({ data }) => handle(data));
addEventListener('error', (event) => {
  event.preventDefault();
  postError(event.error ?? event.message);
});
addEventListener('unhandledrejection', (event) => {
  event.preventDefault();
  postError(event.reason);
});

boot().catch(postError);

/** Start Python, hand it what has queued up, and from then on every message. */
async function boot() {
  post({
    id: RUNTIME, kind: 'progress', stage: 'runtime', done: 0, total: 1, text: 'Starting the Python runtime',
  });
  const [{ loadPyodide }, ...gpu] = await Promise.all([
    /** @type {Promise<typeof import('pyodide')>} */ (import(`${VENDOR}pyodide.mjs`)),
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
  const worker = pyodide.pyimport('pyodide_app.browser.worker');
  handle = worker.handle;
  worker.tell_ready();
  for (const message of queued.splice(0)) handle(message);
}

/**
 * Report what Python did not: the runtime itself failed.
 *
 * @param {unknown} error
 */
function postError(error) {
  console.warn(error);
  post({
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

/** @param {ProgressMessage|ErrorMessage} message */
function post(message) {
  self.postMessage(message);
}

/**
 * A Python traceback's last line is the one that says what happened.
 *
 * @param {unknown} error
 */
function lastLine(error) {
  const text = (error instanceof Error ? error.message : String(error)).trim();
  return text.slice(text.lastIndexOf('\n') + 1).slice(0, 500);
}
