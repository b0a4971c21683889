/**
 * The page's end of the worker: requests go out with an id, and each id's messages come
 * back to its own handlers. The messages are described in messages.js.
 *
 * @import {
 *   Answer, DoneMessage, Ends, ErrorMessage, Folder, GenerateRequest, LoadOptions, Place,
 *   PreflightOptions, ProgressMessage, Request, Sampling, StopMessage, StoppedDone,
 *   TokenMessage, TypedError,
 * } from './messages.js'
 *
 * @typedef {ReturnType<typeof createEngine>} Engine
 *
 * @typedef {object} Handlers of what comes before a request's end
 * @property {(message: ProgressMessage) => void} [onProgress]
 * @property {(message: TokenMessage) => void} [onToken]
 * @property {boolean} [isQuiet] whether nobody tells of it when it fails
 *
 * @typedef {object} Settle ends a request
 * @property {(message: DoneMessage) => void} resolve
 * @property {(error: TypedError) => void} reject
 */

/**
 * @template {keyof Ends} K
 * @typedef {Omit<Extract<Request, {kind: K}>, 'id'|'kind'>} Content of a request
 */

/**
 * @template {keyof Ends} K
 * @typedef {{id: number, result: Promise<Ends[K]|StoppedDone>}} Asked a request under way,
 *   whose result may also be a typed error
 */

const RUNTIME = 0; // the id of what the worker says of itself

/**
 * Start the engine worker; it boots in the background and queues what it is sent.
 *
 * @param {object} on
 * @param {(error: TypedError, isTold: boolean) => void} on.crash it died, and the model with
 *   it; `isTold` is whether a request fails for it that is not quiet
 * @param {(sampling: Sampling) => void} on.ready it serves, and chooses tokens so unless it
 *   is told otherwise
 */
export function createEngine(on) {
  /** @type {Worker|null} */
  let worker = null;
  /** Whether it has booted; until then it hears nothing. */
  let isUp = false;
  let lastId = 0;
  /** How often the GPU was lost: what helps when there is none depends on it. */
  let lost = 0;
  /** @type {Map<number, Handlers & Settle>} */
  const pending = new Map();

  /** @param {MessageEvent<Answer>} event */
  function receive({ data: message }) {
    if (message.id === RUNTIME) return hearRuntime(message);
    const request = pending.get(message.id);
    if (!request) return; // it was taken back
    if (message.kind === 'progress') return request.onProgress?.(message);
    if (message.kind === 'token') return request.onToken?.(message);
    pending.delete(message.id);
    if (message.kind === 'done') request.resolve(message);
    else request.reject(message);
  }

  /** @param {Answer} message */
  function hearRuntime(message) {
    if (message.kind === 'error') crash(message);
    if (message.kind !== 'progress') return;
    isUp = message.done === message.total;
    if (message.sampling) on.ready(message.sampling);
  }

  /** @param {TypedError} error */
  function crash(error) {
    worker?.terminate();
    worker = null;
    if (error.type === 'DeviceLostError') lost += 1;
    const requests = [...pending.values()];
    pending.clear();
    for (const request of requests) request.reject(error);
    on.crash(error, requests.some(({ isQuiet }) => !isQuiet));
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
    return worker;
  }

  /**
   * @template {keyof Ends} K
   * @param {K} kind
   * @param {Content<K>} content
   * @param {Handlers} handlers
   * @returns {Asked<K>}
   */
  function send(kind, content, handlers = {}) {
    const target = worker ?? start();
    lastId += 1;
    const id = lastId;
    /** @type {Asked<K>['result']} */
    const result = new Promise((resolve, reject) => {
      // The worker ends a request as its kind ends.
      pending.set(id, { ...handlers, resolve: /** @type {Settle['resolve']} */ (resolve), reject });
    });
    target.postMessage({ id, kind, ...content });
    return { id, result };
  }

  /**
   * End a request; one that the worker has not heard of yet ends at once.
   *
   * @param {number} id
   */
  function stop(id) {
    /** @type {StopMessage} */
    const message = { id, kind: 'stop' };
    worker?.postMessage(message);
    const request = pending.get(id);
    if (isUp || !request) return;
    pending.delete(id);
    request.resolve({ id, kind: 'done', reason: 'stopped' });
  }

  /** End the worker at once, with everything it holds on the GPU, and start another. */
  function restart() {
    worker?.terminate();
    start();
    const requests = [...pending];
    pending.clear();
    for (const [id, { resolve }] of requests) resolve({ id, kind: 'done', reason: 'stopped' });
  }

  return {
    start,
    restart,
    /** @type {(place: Place, options: LoadOptions, handlers?: Handlers) => Asked<'load'>} */
    load: (place, options, handlers) =>
      send('load', { ...placeOf(place), options: { ...options, lost } }, handlers),
    /** @type {(place: Place, options: PreflightOptions, handlers?: Handlers) => Asked<'preflight'>} */
    preflight: (place, options, handlers) =>
      send('preflight', { ...placeOf(place), options: { ...options, lost } }, handlers),
    /** @type {(options: LoadOptions) => Asked<'adapter'>} */
    adapter: (options) => send('adapter', { options: { ...options, lost } }, { isQuiet: true }),
    /** @type {(folder: Folder) => Asked<'list'>} */
    list: (folder) => send('list', { folder }),
    /** @type {(source: Place & {pull?: string}, handlers?: Handlers) => Asked<'verify'>} */
    verify: (source, handlers) =>
      send('verify', { ...placeOf(source), name: source.pull }, handlers),
    /** @type {(request: GenerateRequest, handlers?: Handlers) => Asked<'generate'>} */
    generate: (request, handlers) => send('generate', request, handlers),
    stop,
  };
}

/**
 * What the worker is told of a source.
 *
 * @param {Place} source
 * @returns {Place}
 */
const placeOf = ({ files, urls, folder, model }) => ({ files, urls, folder, model });

/**
 * @param {string} text
 * @returns {Omit<ErrorMessage, 'id'>}
 */
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
