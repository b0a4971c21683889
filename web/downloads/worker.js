/**
 * The download worker: brings models from other servers into the browser's file system.
 *
 * It is apart from the engine, so that one can chat meanwhile, and it is the only script
 * of the page that may reach another origin: the local server gives every other one a
 * policy that forbids it. It asks for what a person typed, and for nothing else.
 *
 * From the page, each with an `id` chosen for the request:
 *
 * @typedef {object} DownloadMessage
 * @property {number} id
 * @property {'download'} kind
 * @property {string} model its id in store.js
 * @property {import('./address.js').Wanted[]} [files] where a person gave its address;
 *   without them what is missing of it is fetched
 * @property {boolean} [again] what is there is thrown away first
 *
 * @typedef {object} VerifyMessage asks whether what is stored is what arrived
 * @property {number} id
 * @property {'verify'} kind
 * @property {string} model
 *
 * @typedef {object} StopMessage
 * @property {number} id the request to stop; what has arrived is kept
 * @property {'stop'} kind
 *
 * To the page: `progress`, with `{done, total, text}`, and then `done`, with `stopped`
 * telling whether it was stopped, or `error`, a TypedError of worker.js whose type is
 *
 *   DownloadError     the server or the way to it
 *   FileFormatError   no GGUF file
 *   IntegrityError    another SHA-256 than expected; nothing of the file may be loaded
 *   StorageError      no room, or storage that cannot be used
 */

import { download, reset, settle, verify } from './transfer.js';
import {
  changes, doneBytes, fullError, lockName, newRecord, readRecord, removeModel, storageError,
  totalBytes,
} from './store.js';

const PROGRESS_EVERY = 100; // milliseconds

/** @type {Map<number, AbortController>} */
const running = new Map();

self.addEventListener('message', ({ data }) => {
  if (data.kind === 'stop') running.get(data.id)?.abort();
  else serve(data);
});

/** Serve one request; it ends in `done` or `error`. */
async function serve({ id, kind, model, files, again }) {
  const controller = new AbortController();
  const { signal } = controller;
  const tell = teller(id);
  running.set(id, controller);
  try {
    if (kind === 'download') {
      await alone(model, tell, signal, () => fetchModel(model, files, again, tell, signal));
    } else {
      await navigator.locks.request(lockName(model), { mode: 'shared', signal }, async () =>
        verify(await readRecord(model), tell, signal));
    }
    self.postMessage({ id, kind: 'done', stopped: false });
  } catch (error) {
    if (signal.aborted) self.postMessage({ id, kind: 'done', stopped: true });
    else self.postMessage({ ...storageError(error), id });
  } finally {
    running.delete(id);
    changes.postMessage(model);
  }
}

/** Do it while no other tab reads or writes the model; wait for that if need be. */
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

/** Fetch what is missing; what is not worth keeping is gone when this ends. */
async function fetchModel(model, files, again, tell, signal) {
  const record = await readRecord(model) ?? await newRecord(files);
  try {
    if (again || record.fault?.kind === 'damaged') await reset(record);
    record.parts.forEach((part, i) => { part.expected = files?.[i].expected ?? part.expected; });
    if (record.parts.every(({ sha256 }) => sha256)) await settle(record);
    else await download(record, tell, signal);
  } catch (error) {
    const typed = error.name === 'QuotaExceededError' ? full(record) : error;
    if (typed.discard || doneBytes(record) === 0) await removeModel(model);
    throw typed;
  }
}

/** The disk is full, or the browser's patience at its end, after so many bytes. */
function full(record) {
  const { name } = record.parts.find(({ sha256 }) => !sha256) ?? record.parts[0];
  return fullError(name, doneBytes(record), totalBytes(record));
}

/** Tell the page how it goes, but not more often than it can show. */
function teller(id) {
  let shown = -Infinity;
  let last = { done: 0, total: 0 };
  const post = (text) => self.postMessage({ id, kind: 'progress', ...last, text });
  return {
    bytes(done, total) {
      last = { done, total };
      if (performance.now() - shown < PROGRESS_EVERY) return;
      shown = performance.now();
      post('');
    },
    note: (text) => post(text),
  };
}
