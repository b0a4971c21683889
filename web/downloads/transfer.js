/**
 * Downloads the files of a model into the browser's file system, from where they stopped.
 *
 * @import { Verdict } from './answer.js'
 * @import { Sink } from './file.js'
 * @import { Fault, ModelRecord, Part } from './store.js'
 *
 * @typedef {object} Job a download under way
 * @property {ModelRecord} record
 * @property {Tell} tell
 * @property {AbortSignal} signal
 * @property {boolean} answered whether the server ever did
 *
 * @typedef {object} Tell
 * @property {(done: number, total: number) => void} bytes
 * @property {(text: string) => void} note what else goes on, for people
 */

import { judge, unreachable } from './answer.js';
import { integrityError } from './errors.js';
import { digest, openPart, openSink, reserve } from './file.js';
import { doneBytes, openFiles, saveRecord, totalBytes } from './store.js';

const SAVE_AFTER = 2000; // milliseconds: what a tab that dies may lose
const STALL = 30_000; // milliseconds without a byte
const DELAYS = [1000, 2000, 4000, 8000, 16_000]; // milliseconds before each new try
const MAX_CHANGES = 2; // of the file on the server while it is being downloaded
const MISTYPED = 'If the digest was mistyped, give the address again with the right one: '
  + 'nothing is fetched twice. Otherwise download it again, or delete it.';

/** The connection broke, or the server asks to come back: worth another try. */
class Passing extends Error {}
/** The server has another file now. */
class Changed extends Error {
  /** @param {Part} part */
  constructor(part) {
    super(`${part.name} has changed`);
    this.part = part;
  }
}

/**
 * Download what is missing of a model; its record says at any time what is there.
 *
 * @param {ModelRecord} record
 * @param {Tell} tell
 * @param {AbortSignal} signal
 * @throws {import('../engine/messages.js').TypedError}
 */
export async function download(record, tell, signal) {
  const job = { record, tell, signal, answered: false };
  for (let changes = 0; ; changes += 1) {
    try {
      await measure(job);
      for (const part of record.parts) await fetchPart(job, part);
      return settle(record);
    } catch (error) {
      if (!(error instanceof Changed)) throw error;
      if (changes === MAX_CHANGES) throw unreachable(error.part, 'a file that keeps changing');
      tell.note('The file on the server has changed: starting anew');
      await reset(record);
    }
  }
}

/**
 * End a download of which all has arrived: hold it to what it should be.
 *
 * @throws {import('../engine/messages.js').TypedError}
 * @param {ModelRecord} record
 */
export async function settle(record) {
  record.fault = wrongPart(record);
  record.complete = !record.fault;
  await saveRecord(record);
  if (!record.fault) return;
  const { name, found, expected } = record.fault;
  throw integrityError(name, found, expected, MISTYPED);
}

/**
 * Forget what is there; the files themselves are written over.
 *
 * @param {ModelRecord} record
 */
export async function reset(record) {
  for (const part of record.parts) {
    Object.assign(part, { size: null, done: 0, hash: null, sha256: null });
  }
  Object.assign(record, { complete: false, fault: null });
  await saveRecord(record);
}

/**
 * Read a whole model again, and hold it to what arrived.
 *
 * @param {ModelRecord} record
 * @param {Tell} tell
 * @param {AbortSignal} signal
 * @throws {import('../engine/messages.js').TypedError}
 */
export async function verify(record, tell, signal) {
  const files = await openFiles(record);
  const total = totalBytes(record);
  let done = 0;
  for (const [i, file] of files.entries()) {
    const part = record.parts[i];
    const found = await digest(file, (n) => tell.bytes(done += n, total), signal);
    const expected = part.sha256 ?? '';
    if (found === expected) continue;
    record.fault = { kind: 'damaged', name: part.name, found, expected };
    await saveRecord(record);
    throw integrityError(part.name, found, expected);
  }
  return settle(record);
}

/**
 * The first file that has arrived otherwise than it should be.
 *
 * @param {ModelRecord} record
 * @returns {Fault|null}
 */
function wrongPart({ parts }) {
  for (const { name, expected, sha256 } of parts) {
    if (expected && expected !== sha256) return { kind: 'wrong', name, found: sha256 ?? '', expected };
  }
  return null;
}

/**
 * Learn the sizes of a split model's parts, as far as the server tells, and take room.
 *
 * @param {Job} job
 */
async function measure(job) {
  const { id, parts } = job.record;
  if (parts.length === 1) return;
  await Promise.all(parts.filter(({ size }) => size === null).map(async (part) => {
    const options = { ...POLITE, method: 'HEAD', signal: job.signal };
    const response = await fetch(part.url, options).catch(() => null);
    const length = response?.ok && response.headers.get('Content-Length');
    if (length) part.size = Number(length);
  }));
  job.signal.throwIfAborted();
  for (const part of parts) {
    const access = await openPart(id, part.name);
    try {
      reserve(access, part);
    } finally {
      access.close();
    }
  }
}

/**
 * @param {Job} job
 * @param {Part} part
 */
async function fetchPart(job, part) {
  if (part.sha256) return;
  const access = await openPart(job.record.id, part.name);
  try {
    const sink = await openSink(job.record, part, access);
    if (part.done !== part.size) await persist(job, part, sink);
    sink.finish();
  } finally {
    access.close();
  }
  await saveRecord(job.record);
}

/**
 * Try again when the connection breaks, until that brings nothing any more.
 *
 * @param {Job} job
 * @param {Part} part
 * @param {Sink} sink
 */
async function persist(job, part, sink) {
  const { tell, signal } = job;
  let furthest = part.done;
  for (let tries = 0; ; tries += 1) {
    try {
      return await attempt(job, part, sink);
    } catch (error) {
      await sink.save();
      signal.throwIfAborted();
      if (!(error instanceof Passing)) throw error;
      if (part.done > furthest) tries = 0;
      furthest = Math.max(furthest, part.done);
      // A server that never answered is not one whose connection broke.
      if (tries === DELAYS.length || !job.answered) throw unreachable(part, error.message);
      tell.note(`${error.message}: trying again`);
      await pause(DELAYS[tries], signal);
    }
  }
}

/**
 * Ask once for what is missing of a file, and store what comes.
 *
 * @param {Job} job
 * @param {Part} part
 * @param {Sink} sink
 */
async function attempt(job, part, sink) {
  const watchdog = new AbortController();
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => watchdog.abort(new Passing('Nothing arrives')), STALL);
  };
  try {
    alive();
    const signal = AbortSignal.any([job.signal, watchdog.signal]);
    const response = await fetch(part.url, { ...POLITE, headers: range(part), signal }).catch(broken);
    job.answered = true;
    accept(job, part, sink, judge(part, response));
    sink.reserve();
    if (!response.body) throw new Passing('The answer is empty');
    await receive(job, part, sink, response.body.getReader(), alive);
  } finally {
    clearTimeout(timer);
    watchdog.abort(); // also of an answer that is not wanted
  }
}

/**
 * No cookies, no referrer, and no second copy in the browser's cache.
 *
 * @type {RequestInit}
 */
const POLITE = { credentials: 'omit', referrerPolicy: 'no-referrer', cache: 'no-store' };

/**
 * @param {Part} part
 * @returns {HeadersInit}
 */
const range = ({ done }) => (done ? { Range: `bytes=${done}-` } : {});

/**
 * Make ready for the bytes that an answer brings, or refuse them.
 *
 * @param {Job} job
 * @param {Part} part
 * @param {Sink} sink
 * @param {Verdict} verdict
 */
function accept({ tell }, part, sink, verdict) {
  if (verdict.use === 'later') throw new Passing(verdict.found);
  if (verdict.use === 'changed') throw new Changed(part);
  const { use, size, mark } = verdict;
  if (use === 'whole' && part.done) {
    tell.note('The server cannot go on where it stopped: starting anew');
    sink.rewind();
  }
  Object.assign(part, { size, mark });
}

/**
 * @param {Job} job
 * @param {Part} part
 * @param {Sink} sink
 * @param {ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>} reader
 * @param {() => void} alive
 */
async function receive({ record, tell }, part, sink, reader, alive) {
  let saved = performance.now();
  for (;;) {
    const { done, value } = await reader.read().catch(broken);
    if (done) break;
    alive();
    sink.write(value);
    tell.bytes(doneBytes(record), totalBytes(record));
    if (performance.now() - saved < SAVE_AFTER) continue;
    await sink.save();
    saved = performance.now();
  }
  if (part.size !== null && part.done < part.size) throw new Passing('The connection broke');
  part.size = part.done;
}

/**
 * What a connection that broke becomes; a watchdog's own reason stands.
 *
 * @param {Error} error
 * @returns {never}
 */
function broken(error) {
  if (error instanceof Passing || error.name === 'AbortError') throw error;
  throw new Passing('The connection broke');
}

/**
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
