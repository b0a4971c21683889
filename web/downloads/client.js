/**
 * The page's end of the download worker; its messages are described in messages.js.
 *
 * @import { TypedError } from '../engine/messages.js'
 * @import {
 *   Answer, DoneMessage, DownloadMessage, ProgressMessage, StopMessage, VerifyMessage,
 * } from './messages.js'
 *
 * @typedef {Omit<DownloadMessage, 'id'>|Omit<VerifyMessage, 'id'>} Request
 *
 * @typedef {object} Pending a request under way
 * @property {(message: ProgressMessage) => void} onProgress
 * @property {(message: DoneMessage) => void} resolve
 * @property {(error: TypedError) => void} reject
 */

/** Start the worker when it is first needed. */
export function createDownloader() {
  /** @type {Worker|null} */
  let worker = null;
  let lastId = 0;
  /** @type {Map<number, Pending>} */
  const pending = new Map();

  /** @param {MessageEvent<Answer>} event */
  function receive({ data: message }) {
    const request = pending.get(message.id);
    if (!request) return null;
    if (message.kind === 'progress') return request.onProgress(message);
    pending.delete(message.id);
    return message.kind === 'done' ? request.resolve(message) : request.reject(message);
  }

  /** @param {ErrorEvent} event */
  function crash(event) {
    event.preventDefault();
    worker?.terminate();
    worker = null;
    const requests = [...pending.values()];
    pending.clear();
    for (const request of requests) request.reject(crashed(event.message));
  }

  function start() {
    worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    worker.addEventListener('message', receive);
    worker.addEventListener('error', crash);
    return worker;
  }

  /**
   * Send a request; its result settles with `done` or with a typed error.
   *
   * @param {Request} message
   * @param {Pending['onProgress']} onProgress
   */
  function send(message, onProgress) {
    const target = worker ?? start();
    lastId += 1;
    const id = lastId;
    /** @type {Promise<DoneMessage>} */
    const result = new Promise((resolve, reject) => {
      pending.set(id, { onProgress, resolve, reject });
    });
    target.postMessage({ id, ...message });
    return { id, result };
  }

  /** @param {number} id */
  function stop(id) {
    /** @type {StopMessage} */
    const message = { id, kind: 'stop' };
    worker?.postMessage(message);
  }

  return { send, stop };
}

/**
 * @param {string} text
 * @returns {TypedError}
 */
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
