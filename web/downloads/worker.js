/**
 * The download worker: brings models from other servers into the browser's file system.
 *
 * It is apart from the engine, so that one can chat meanwhile, and it is the only script
 * of the page that may reach another origin: the local server gives every other one a
 * policy that forbids it. It asks for what a person typed, and for nothing else.
 *
 * Its messages are described in messages.js.
 *
 * @import { Answer, DownloadMessage, Request, VerifyMessage } from './messages.js'
 * @import { ModelRecord } from './store.js'
 * @import { Tell } from './transfer.js'
 */

import { fullError, goneError, storageError } from './errors.js';
import { download, reset, settle, verify } from './transfer.js';
import {
  changes, doneBytes, lockName, newRecord, readRecord, removeModel, totalBytes,
} from './store.js';

const PROGRESS_EVERY = 100; // milliseconds

/** @type {Map<number, AbortController>} */
const running = new Map();

addEventListener('message', (/** @type {MessageEvent<Request>} */ { data }) => {
  if (data.kind === 'stop') running.get(data.id)?.abort();
  else serve(data);
});

/** @param {Answer} message */
function post(message) {
  self.postMessage(message);
}

/**
 * Serve one request; it ends in `done` or `error`.
 *
 * @param {DownloadMessage|VerifyMessage} request
 */
async function serve(request) {
  const { id, model } = request;
  const controller = new AbortController();
  const { signal } = controller;
  const tell = teller(id);
  running.set(id, controller);
  try {
    if (request.kind === 'download') {
      await alone(model, tell, signal, () => fetchModel(request, tell, signal));
    } else {
      await navigator.locks.request(lockName(model), { mode: 'shared', signal }, async () =>
        verify(await recordOf(model), tell, signal));
    }
    post({ id, kind: 'done', stopped: false });
  } catch (error) {
    if (signal.aborted) post({ id, kind: 'done', stopped: true });
    else post({ ...storageError(error), id });
  } finally {
    running.delete(id);
    changes.postMessage(model);
  }
}

/**
 * Do it while no other tab reads or writes the model; wait for that if need be.
 *
 * @param {string} model
 * @param {Tell} tell
 * @param {AbortSignal} signal
 * @param {() => Promise<void>} action
 */
async function alone(model, tell, signal, action) {
  const name = lockName(model);
  let done = false;
  await navigator.locks.request(name, { ifAvailable: true }, async (lock) => {
    if (!lock) return;
    done = true;
    await action();
  });
  if (done) return;
  tell.note('Waiting: another tab is at it');
  await navigator.locks.request(name, { signal }, action);
}

/**
 * Fetch what is missing; what is not worth keeping is gone when this ends.
 *
 * @param {DownloadMessage} request
 * @param {Tell} tell
 * @param {AbortSignal} signal
 */
async function fetchModel({ model, files = [], again }, tell, signal) {
  const record = await readRecord(model) ?? await newRecord(files);
  try {
    if (again || record.fault?.kind === 'damaged') await reset(record);
    record.parts.forEach((part, i) => { part.expected = files[i]?.expected ?? part.expected; });
    if (record.parts.every(({ sha256 }) => sha256)) await settle(record);
    else await download(record, tell, signal);
  } catch (error) {
    const typed = error.name === 'QuotaExceededError' ? full(record) : error;
    if (typed.discard || doneBytes(record) === 0) await removeModel(model);
    throw typed;
  }
}

/**
 * The record of a model that is listed; another tab may have removed it meanwhile.
 *
 * @param {string} model
 */
async function recordOf(model) {
  const record = await readRecord(model);
  if (!record) throw goneError();
  return record;
}

/**
 * The disk is full, or the browser's patience at its end, after so many bytes.
 *
 * @param {ModelRecord} record
 */
function full(record) {
  const { name } = record.parts.find(({ sha256 }) => !sha256) ?? record.parts[0];
  return fullError(name, doneBytes(record), totalBytes(record));
}

/**
 * Tell the page how it goes, but not more often than it can show.
 *
 * @param {number} id
 * @returns {Tell}
 */
function teller(id) {
  let shown = -Infinity;
  let last = { done: 0, total: 0 };
  /** @param {string} text */
  const note = (text) => post({ id, kind: 'progress', ...last, text });
  return {
    bytes(done, total) {
      last = { done, total };
      if (performance.now() - shown < PROGRESS_EVERY) return;
      shown = performance.now();
      note('');
    },
    note,
  };
}
