/** The page's end of the download worker; its messages are described there. */

/**
 * Start the worker when it is first needed.
 *
 * @returns {{send: Function, stop: (id: number) => void}}
 */
export function createDownloader() {
  /** @type {Worker|null} */
  let worker = null;
  let lastId = 0;
  const pending = new Map();

  function receive({ data: message }) {
    const request = pending.get(message.id);
    if (message.kind === 'progress') return request.onProgress(message);
    pending.delete(message.id);
    return message.kind === 'done' ? request.resolve(message) : request.reject(message);
  }

  function crash(event) {
    event.preventDefault();
    worker.terminate();
    worker = null;
    const requests = [...pending.values()];
    pending.clear();
    for (const request of requests) request.reject(crashed(event.message));
  }

  function start() {
    worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    worker.addEventListener('message', receive);
    worker.addEventListener('error', crash);
  }

  /** Send a request; its result settles with `done` or with a typed error. */
  function send(message, onProgress) {
    if (!worker) start();
    lastId += 1;
    const id = lastId;
    const result = new Promise((resolve, reject) => {
      pending.set(id, { onProgress, resolve, reject });
    });
    worker.postMessage({ id, ...message });
    return { id, result };
  }

  return { send, stop: (id) => worker?.postMessage({ id, kind: 'stop' }) };
}

function crashed(text) {
  return {
    kind: 'error',
    type: 'DownloadError',
    what: 'The download stopped working',
    found: text || 'a worker that could not be started',
    expected: '',
    remedy: 'What is here is kept. Try again; if that does not help, reload the page.',
  };
}
