/**
 * What goes wrong on the GPU, and how whoever waits is told.
 *
 * WebGPU reports failures late and elsewhere: through error scopes, an event for what no
 * scope caught, and a promise for a lost device. Here all of them end in an Error that
 * the next awaited call throws, with a `name` that pyodide_app/gpu/failures.py knows.
 *
 * @typedef {import('./gpu.js').Gpu} Gpu
 */

/**
 * Make an Error for Python to sort by its name.
 *
 * @param {string} name a key of `FAILURES` in pyodide_app/gpu/failures.py
 * @param {string} message what was found
 * @param {string} [what] the thing that it happened to
 */
export function failure(name, message, what = '') {
  return Object.assign(new Error(message), { name, what });
}

/**
 * Count a call from Python, and refuse it when the device is lost.
 *
 * @param {Gpu} gpu
 */
export function enter(gpu) {
  gpu.counters.host_calls += 1;
  alive(gpu);
}

/**
 * Throw when the device is lost.
 *
 * @param {Gpu} gpu
 */
export function alive(gpu) {
  if (gpu.lost !== null) throw failure('DeviceLost', gpu.lost);
}

/**
 * Throw what went wrong since the last time, once.
 *
 * @param {Gpu} gpu
 */
export function check(gpu) {
  alive(gpu);
  const { problem } = gpu;
  gpu.problem = null;
  if (problem) throw problem;
}

/**
 * Wait for the error scopes, then throw what went wrong.
 *
 * @param {Gpu} gpu
 */
export async function checkScopes(gpu) {
  // One that ends may have begun another: look again.
  while (gpu.scopes.size) await guarded(gpu, Promise.all(gpu.scopes));
  check(gpu);
}

/**
 * Return what `action` does, with its errors caught and put down to `what`.
 *
 * @template T
 * @param {Gpu} gpu
 * @param {string} what
 * @param {() => T} action
 * @returns {T}
 */
export function scoped(gpu, what, action) {
  gpu.device.pushErrorScope('validation');
  gpu.device.pushErrorScope('out-of-memory');
  try {
    return action();
  } finally {
    popScope(gpu, what);
    popScope(gpu, what);
  }
}

/**
 * @param {Gpu} gpu
 * @param {string} what
 */
function popScope(gpu, what) {
  /** @type {Promise<unknown>} */
  const scope = gpu.device
    .popErrorScope()
    .then((error) => error && remember(gpu, what, error))
    .catch(() => {}) // the device is lost, which is told by other means
    .finally(() => gpu.scopes.delete(scope));
  gpu.scopes.add(scope);
}

/**
 * Wait for a promise, but no longer than the device lives.
 *
 * Not `Promise.race` with `device.lost`: that would keep every result for as long as the
 * device lives.
 *
 * @template T
 * @param {Gpu} gpu
 * @param {Promise<T>} promise
 * @returns {Promise<T>}
 */
export function guarded(gpu, promise) {
  return new Promise((resolve, reject) => {
    /** @type {<V>(settle: (value: V) => void) => (value: V) => void} */
    const end = (settle) => (value) => {
      gpu.waiting.delete(reject);
      settle(value);
    };
    if (gpu.lost !== null) reject(failure('DeviceLost', gpu.lost));
    else gpu.waiting.add(reject);
    promise.then(end(resolve), end(reject));
  });
}

/**
 * Keep an error for the next awaited call; what follows from it is not kept.
 *
 * @param {Gpu} gpu
 * @param {string} what
 * @param {GPUError} error
 */
export function remember(gpu, what, error) {
  gpu.problem ??= failure(kind(error), firstParagraph(error.message), what);
}

/** @param {GPUError} error */
function kind(error) {
  if (error instanceof GPUOutOfMemoryError) return 'OutOfMemory';
  return error instanceof GPUInternalError ? 'Internal' : 'Validation';
}

/**
 * Mark the device as lost, and tell everyone who waits for it.
 *
 * @param {Gpu} gpu
 * @param {string} message
 */
export function lose(gpu, message) {
  if (gpu.lost !== null) return;
  gpu.lost = message;
  for (const reject of gpu.waiting) reject(failure('DeviceLost', message));
  gpu.waiting.clear();
  gpu.staging.clear();
  gpu.onLost?.(message);
}

/**
 * Return what a compiler or validator says first.
 *
 * @param {string} text
 */
export function firstParagraph(text) {
  return text.trim().split(/\n\s*\n/)[0];
}
