/**
 * Downloaded models in the browser's own file system (OPFS), one folder for each:
 *
 *   downloads/ID/.record       what is known of the model; written last, and whole or not
 *   downloads/ID/NAME          each of its files
 *
 * A model is whole when its record says so, never because its files are there.
 *
 * @typedef {object} Part one file, as far as it is here
 * @property {string} url
 * @property {string} name
 * @property {string|null} expected its SHA-256, where a person or its name gave it
 * @property {number|null} size null until the server has said it
 * @property {number} done bytes that are stored
 * @property {Mark} mark what the server calls this version
 * @property {number[]|null} hash the state of its SHA-256 after `done` bytes
 * @property {string|null} sha256 of all of it, as it arrived
 *
 * @typedef {{etag: string, modified: string}} Mark
 *
 * @typedef {object} ModelRecord
 * @property {1} version
 * @property {string} id
 * @property {Part[]} parts
 * @property {boolean} complete
 * @property {Fault|null} fault
 * @property {number} used when it was used last, in milliseconds
 *
 * @typedef {object} Fault the first file that is not what it should be
 * @property {'wrong'|'damaged'} kind it arrived so, or has gone bad since
 * @property {string} name
 * @property {string} found its SHA-256
 * @property {string} expected
 *
 * @import { Wanted } from './address.js'
 */

import { bytes } from '../shared/format.js';
import { integrityError } from './errors.js';

const FOLDER = 'downloads';
const RECORD = '.record'; // no file's name begins with a dot

/** Tells this page's other tabs that something here has changed. */
export const changes = new BroadcastChannel('lapidary.models');

/**
 * @param {Wanted[]} files
 * @returns {Promise<ModelRecord>}
 */
export async function newRecord(files) {
  const blank = { size: null, done: 0, mark: { etag: '', modified: '' }, hash: null, sha256: null };
  const parts = files.map((file) => ({ ...file, ...blank }));
  const id = await idOf(files);
  return { version: 1, id, parts, complete: false, fault: null, used: Date.now() };
}

/**
 * A model's id: the same address gives the same folder.
 *
 * @param {{url: string}[]} files
 */
export async function idOf(files) {
  const url = new TextEncoder().encode(files[0].url);
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', url));
  return [...digest.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * Who writes or removes a model holds this lock alone; who reads it shares it.
 *
 * @param {string} id
 */
export const lockName = (id) => `lapidary.models.${id}`;

/** Milliseconds to wait for a lock: one that was given back is not free at once. */
const PATIENCE = 1000;

/**
 * Keep a model from being written or removed.
 *
 * @returns {Promise<() => Promise<void>>} what gives the lock back
 * @throws {DOMException} a TimeoutError when someone is at it
 * @param {string} id
 */
export function hold(id) {
  return new Promise((resolve, reject) => {
    /** @type {LockOptions} */
    const options = { mode: 'shared', signal: AbortSignal.timeout(PATIENCE) };
    /** @type {Promise<void>} settled when the lock is given back */
    const end = navigator.locks.request(lockName(id), options, () => /** @type {Promise<void>} */ (
      new Promise((give) => {
        resolve(() => {
          give();
          return end;
        });
      })));
    end.catch(reject);
  });
}

/**
 * Remove a model that nobody is at.
 *
 * @throws {DOMException} a TimeoutError when someone is
 * @param {string} id
 */
export function removeUnused(id) {
  const options = { signal: AbortSignal.timeout(PATIENCE) };
  return navigator.locks.request(lockName(id), options, () => removeModel(id));
}

/** @param {ModelRecord} record */
export const doneBytes = (record) => record.parts.reduce((sum, part) => sum + part.done, 0);

/**
 * The size of all parts; 0 when one is not known.
 *
 * @param {ModelRecord} record
 */
export function totalBytes({ parts }) {
  const isKnown = parts.every(({ size }) => size !== null);
  return isKnown ? parts.reduce((sum, { size }) => sum + (size ?? 0), 0) : 0;
}

/**
 * @returns {'complete'|'damaged'|'partial'}
 * @param {ModelRecord} record
 */
export function stateOf({ complete, fault }) {
  if (fault) return 'damaged';
  return complete ? 'complete' : 'partial';
}

async function downloadsFolder() {
  const root = await navigator.storage.getDirectory();
  return root.getDirectoryHandle(FOLDER, { create: true });
}

/**
 * @param {string} id
 * @param {boolean} create
 */
async function modelFolder(id, create = false) {
  return (await downloadsFolder()).getDirectoryHandle(id, { create });
}

/**
 * The handle of a file of a model, made if need be.
 *
 * @param {string} id
 * @param {string} name
 */
export async function partHandle(id, name) {
  return (await modelFolder(id, true)).getFileHandle(name, { create: true });
}

/**
 * Read or write a record while no other tab writes it.
 *
 * @template T
 * @param {string} id
 * @param {LockMode} mode
 * @param {() => Promise<T>} action
 */
const alone = (id, mode, action) => navigator.locks.request(`${lockName(id)}.record`, { mode }, action);

/**
 * @param {string} id
 * @returns {Promise<ModelRecord|null>} null when there is none, or none that can be read
 */
export const readRecord = (id) => alone(id, 'shared', () => read(id));

/**
 * Write the record; a tab that dies meanwhile leaves the one before.
 *
 * @param {ModelRecord} record
 */
export const saveRecord = (record) => alone(record.id, 'exclusive', () => write(record));

/**
 * Note that a model is being used.
 *
 * @param {string} id
 */
export const touch = (id) => alone(id, 'exclusive', async () => {
  const record = await read(id);
  if (record) await write({ ...record, used: Date.now() });
});

/**
 * @param {string} id
 * @returns {Promise<ModelRecord|null>}
 */
async function read(id) {
  try {
    const handle = await (await modelFolder(id)).getFileHandle(RECORD);
    const record = JSON.parse(await (await handle.getFile()).text());
    return record.version === 1 && record.id === id ? record : null;
  } catch (error) {
    if (error.name === 'NotFoundError' || error instanceof SyntaxError) return null;
    throw error;
  }
}

/** @param {ModelRecord} record */
async function write(record) {
  const handle = await (await modelFolder(record.id, true)).getFileHandle(RECORD, { create: true });
  const writable = await handle.createWritable();
  try {
    await writable.write(JSON.stringify(record));
    await writable.close();
  } catch (error) {
    await writable.abort().catch(() => {});
    throw error;
  }
}

/** @returns {Promise<ModelRecord[]>} the last used first */
export async function listModels() {
  /** @type {ModelRecord[]} */
  const records = [];
  for await (const [id, { kind }] of (await downloadsFolder()).entries()) {
    const record = kind === 'directory' ? await readRecord(id) : null;
    if (record) records.push(record);
    else await sweep(id);
  }
  return records.sort((a, b) => b.used - a.used);
}

/**
 * Remove what a tab that died left without a record.
 *
 * @param {string} id
 */
function sweep(id) {
  return navigator.locks.request(lockName(id), { ifAvailable: true }, async (lock) => {
    if (lock && !await readRecord(id)) await removeModel(id);
  });
}

/**
 * Remove a model and all of its files.
 *
 * @param {string} id
 */
export async function removeModel(id) {
  try {
    await (await downloadsFolder()).removeEntry(id, { recursive: true });
  } catch (error) {
    if (error.name !== 'NotFoundError') throw error;
  }
}

/**
 * The files of a model, whatever is in them.
 *
 * @param {ModelRecord} record
 * @returns {Promise<File[]>}
 */
export async function openFiles({ id, parts }) {
  const folder = await modelFolder(id);
  return Promise.all(parts.map(async ({ name, size }) => {
    const handle = await folder.getFileHandle(name).catch(() => null);
    if (!handle) throw integrityError(name, 'no such file', size === null ? '' : bytes(size));
    return handle.getFile();
  }));
}

/**
 * The files of a model that is whole, as the browser shows files of a disk.
 *
 * @param {ModelRecord} record
 */
export async function filesOf(record) {
  const files = await openFiles(record);
  files.forEach(({ name, size }, i) => {
    const expected = record.parts[i].size ?? 0;
    if (size !== expected) throw integrityError(name, bytes(size), bytes(expected));
  });
  return files;
}
