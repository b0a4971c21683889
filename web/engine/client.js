/**
 * The page's end of the worker: requests go out with an id, and each id's messages come
 * back to its own handlers. The message types are described in worker.js.
 */

/** @typedef {import('./worker.js').TypedError} TypedError */

const RUNTIME = 0; // the id of what the worker says of itself

/**
 * Start the engine worker; it boots in the background and queues what it is sent.
 *
 * @param {(error: TypedError, isTold: boolean) => void} onCrash it died, and the model with
 *   it; `isTold` is whether a request fails for it that is not quiet
 */
export function createEngine(onCrash) {
  let worker = null;
  /** Whether it has booted; until then it hears nothing. */
  let isUp = false;
  let lastId = 0;
  /** How often the GPU was lost: what helps when there is none depends on it. */
  let lost = 0;
  const pending = new Map();

  function receive({ data: message }) {
    if (message.id === RUNTIME) return hearRuntime(message);
    const request = pending.get(message.id);
    if (!request) return null; // it was taken back
    if (message.kind === 'progress') return request.onProgress?.(message);
    if (message.kind === 'token') return request.onToken?.(message);
    pending.delete(message.id);
    if (message.kind === 'done') return request.resolve(message);
    return request.reject(message);
  }

  function hearRuntime(message) {
    if (message.kind === 'error') crash(message);
    if (message.kind === 'progress') isUp = message.done === message.total;
  }

  function crash(error) {
    worker?.terminate();
    worker = null;
    if (error.type === 'DeviceLostError') lost += 1;
    const requests = [...pending.values()];
    pending.clear();
    for (const request of requests) request.reject(error);
    onCrash(error, requests.some(({ isQuiet }) => !isQuiet));
  }

  function start() {
    isUp = false;
    worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    worker.addEventListener('message', receive);
    worker.addEventListener('error', (event) => {
      event.preventDefault();
      crash(workerError(event.message));
    });
    worker.addEventListener('messageerror', () => crash(workerError('a message was lost')));
  }

  function send(kind, payload, handlers) {
    if (!worker) start();
    lastId += 1;
    const id = lastId;
    const result = new Promise((resolve, reject) => {
      pending.set(id, { ...handlers, resolve, reject });
    });
    worker.postMessage({ id, kind, ...payload });
    return { id, result };
  }

  /** End a request; one that the worker has not heard of yet ends at once. */
  function stop(id) {
    worker?.postMessage({ id, kind: 'stop' });
    const request = pending.get(id);
    if (isUp || !request) return;
    pending.delete(id);
    request.resolve({ kind: 'done', reason: 'stopped' });
  }

  /** End the worker at once, with everything it holds on the GPU, and start another. */
  function restart() {
    worker?.terminate();
    start();
    const requests = [...pending.values()];
    pending.clear();
    for (const request of requests) request.resolve({ kind: 'done', reason: 'stopped' });
  }

  return {
    start,
    restart,
    load: ({ files, urls, folder, model }, options, handlers) =>
      send('load', { files, urls, folder, model, options: { ...options, lost } }, handlers),
    preflight: ({ files, urls, folder, model }, options, handlers) =>
      send('preflight', { files, urls, folder, model, options: { ...options, lost } }, handlers),
    adapter: (options) => send('adapter', { options: { ...options, lost } }, { isQuiet: true }),
    list: (folder) => send('list', { folder }, {}),
    verify: ({ files, urls, folder, model, pull }, handlers) =>
      send('verify', { files, urls, folder, model, name: pull }, handlers),
    generate: (request, handlers) => send('generate', request, handlers),
    stop,
  };
}

function workerError(text) {
  return {
    kind: 'error',
    type: 'RuntimeError',
    what: 'The engine stopped working',
    found: text || 'a worker that could not be started',
    expected: '',
    remedy: 'Load the model again; if that does not help, reload the page.',
    kept: false,
    fatal: true,
  };
}
