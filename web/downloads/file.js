/**
 * A file that is being downloaded: its room on the disk, its bytes and their SHA-256.
 *
 * SHA-256 is computed of what arrives. Its state is stored with the number of bytes, so
 * that nothing is read again to go on, and so that bytes that go bad on the disk later
 * do not pass for those that arrived: `digest` reads them all.
 */

import '../vendor/sha256.umd.min.js';
import { fullError } from './errors.js';
import { partHandle, saveRecord } from './store.js';

const { createSHA256 } = hashwasm;

const BLOCK = 4 << 20; // bytes of one read
const MAGIC = 'GGUF';

/**
 * @import { TypedError } from '../engine/messages.js'
 * @import { ModelRecord, Part } from './store.js'
 *
 * @typedef {Awaited<ReturnType<typeof openSink>>} Sink
 */

/**
 * Open a file of a model for writing, made if need be.
 *
 * @param {string} id
 * @param {string} name
 */
export async function openPart(id, name) {
  return (await partHandle(id, name)).createSyncAccessHandle();
}

/**
 * Take the room for a whole file before its bytes are fetched.
 *
 * What the browser says is free is no measure: Chrome tells every page of 10 GiB. How
 * much it really gives is found by trying, which writes nothing.
 *
 * @param {FileSystemSyncAccessHandle} access
 * @param {Part} part
 */
export function reserve(access, { name, size }) {
  if (size === null || access.getSize() >= size || grow(access, size)) return;
  let [granted, refused] = [0, size];
  while (refused - granted > size / 100) {
    const middle = Math.floor((granted + refused) / 2);
    if (grow(access, middle)) granted = middle;
    else refused = middle;
  }
  throw fullError(name, granted, size);
}

/**
 * Resize a file; false when the browser refuses, which not every one says aloud.
 *
 * @param {FileSystemSyncAccessHandle} access
 * @param {number} size
 */
function grow(access, size) {
  try {
    access.truncate(size);
  } catch (error) {
    if (error.name !== 'QuotaExceededError') throw error;
  }
  return access.getSize() >= size;
}

/**
 * Open a file's end for writing: the file and its digest go on where the record says.
 *
 * @param {ModelRecord} record
 * @param {Part} part
 * @param {FileSystemSyncAccessHandle} access
 */
export async function openSink(record, part, access) {
  const hasher = await createSHA256();
  if (!restore()) rewind();

  /** Take up where the record says; false when what it tells of is not there. */
  function restore() {
    if (!part.done || !part.hash || access.getSize() < part.done) return false;
    try {
      hasher.load(Uint8Array.from(part.hash));
    } catch {
      return false; // another release of hash-wasm kept its state otherwise
    }
    return true;
  }

  function rewind() {
    hasher.init();
    Object.assign(part, { done: 0, hash: null });
  }

  /** @param {Uint8Array<ArrayBuffer>} data */
  function write(data) {
    if (part.size !== null && part.done + data.length > part.size) throw spoilt(tooLong(part));
    const written = access.write(data, { at: part.done });
    // Chrome's private windows take what they do not store.
    if (written < data.length || access.getSize() < part.done + data.length) {
      throw new DOMException('The disk takes no more', 'QuotaExceededError');
    }
    hasher.update(data);
    const isFirst = part.done < MAGIC.length;
    part.done += data.length;
    if (isFirst && part.done >= MAGIC.length) checkMagic();
  }

  /** Find out from its first bytes that a file is none, before all of it is here. */
  function checkMagic() {
    const first = new Uint8Array(Math.min(part.done, MAGIC.length));
    access.read(first, { at: 0 });
    const text = String.fromCharCode(...first);
    if (text !== MAGIC) throw spoilt(noModel(part, text));
  }

  /**
   * What has arrived is not the file: nothing of it is kept.
   *
   * @param {TypedError} error
   */
  function spoilt(error) {
    rewind();
    return error;
  }

  async function save() {
    access.flush();
    part.hash = [...hasher.save()];
    await saveRecord(record);
  }

  function finish() {
    if (part.done < MAGIC.length) checkMagic();
    access.truncate(part.done);
    access.flush();
    Object.assign(part, { hash: null, sha256: hasher.digest() });
  }

  return { rewind, reserve: () => reserve(access, part), write, save, finish };
}

/**
 * @param {Part} part
 * @param {string} text
 * @returns {TypedError}
 */
function noModel({ name }, text) {
  return {
    kind: 'error',
    type: 'FileFormatError',
    what: `${name} is no GGUF file`,
    found: `it begins with ${JSON.stringify(text)}`,
    expected: JSON.stringify(MAGIC),
    remedy: 'The address may be that of a web page: copy the address of the download link.',
  };
}

/**
 * @param {Part} part
 * @returns {TypedError}
 */
function tooLong({ name, size }) {
  return {
    kind: 'error',
    type: 'DownloadError',
    what: `The server sends more of ${name} than it said`,
    found: `more than ${size} bytes`,
    expected: `${size} bytes`,
    remedy: 'Another server may do better: this one may compress what it sends.',
  };
}

/**
 * Compute the SHA-256 of a file; `onBytes` is told of each block that was read.
 *
 * @param {File} file
 * @param {(nBytes: number) => void} onBytes
 * @param {AbortSignal} signal
 */
export async function digest(file, onBytes, signal) {
  const hasher = await createSHA256();
  for (let begin = 0; begin < file.size; begin += BLOCK) {
    signal.throwIfAborted();
    const block = new Uint8Array(await file.slice(begin, begin + BLOCK).arrayBuffer());
    hasher.update(block);
    onBytes(block.length);
  }
  return hasher.digest();
}
