/**
 * The page's end of the worker: requests go out with an id, and each id's messages come
 * back to its own handlers. The message types are described in worker.js.
 */

/** @typedef {import('./worker.js').TypedError} TypedError */

/**
 * Start the engine worker; it boots in the background and queues what it is sent.
 *
 * @param {{onRuntime: (message: object) => void, onCrash: (error: TypedError) => void}} on
 *   what concerns no single request: the runtime's progress, and its death.
 */
export function createEngine(on) {
  let worker = null;
  let lastId = 0;
  const pending = new Map();

  function receive({ data: message }) {
    const request = pending.get(message.id);
    if (!request) return message.kind === 'error' ? crash(message) : on.onRuntime(message);
    if (message.kind === 'progress') return request.onProgress?.(message);
    if (message.kind === 'token') return request.onToken?.(message);
    pending.delete(message.id);
    if (message.kind === 'done') return request.resolve(message);
    return request.reject(message);
  }

  function crash(error) {
    worker?.terminate();
    worker = null;
    const requests = [...pending.values()];
    pending.clear();
    for (const request of requests) request.reject(error);
    if (requests.length === 0) on.onCrash(error);
  }

  function start() {
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
      send('load', { files, urls, folder, model, options }, handlers),
    preflight: ({ files, urls, folder, model }, options, handlers) =>
      send('preflight', { files, urls, folder, model, options }, handlers),
    list: (folder) => send('list', { folder }, {}),
    verify: ({ files, urls, folder, model, pull }, handlers) =>
      send('verify', { files, urls, folder, model, name: pull }, handlers),
    generate: (request, handlers) => send('generate', request, handlers),
    stop: (id) => worker?.postMessage({ id, kind: 'stop' }),
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
  };
}
