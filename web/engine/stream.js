/**
 * Streams ranges of files into GPU buffers, past the WebAssembly heap, in bounded chunks.
 *
 * @typedef {import('./gpu.js').Gpu} Gpu
 *
 * @typedef {(begin: number, end: number) => Promise<ArrayBuffer>} Reader
 *
 * @typedef {object} Job one upload
 * @property {number} next where the next read begins
 * @property {boolean} stopped a read has failed: the others do not go on
 */

import { alive, check, checkScopes, enter, failure, guarded, scoped } from './faults.js';

const CHUNK = 4 << 20; // bytes of one read and one write
const READS = 4; // in flight
const MAX_UNFINISHED = 32 << 20; // bytes of writes that the queue has not done yet

/**
 * Stream a range of a source into a buffer.
 *
 * A length that is no multiple of four is padded with zeros at its end.
 *
 * @param {Gpu} gpu
 * @param {Reader} reader
 * @param {number} begin in the source, below 2^53
 * @param {number} end
 * @param {GPUBuffer} buffer
 * @param {number} offset in the buffer, a multiple of four
 * @param {(nBytes: number) => void} onBytes told of each chunk that was written
 * @param {AbortSignal} signal after it nothing is read or written any more
 */
export async function upload(gpu, reader, begin, end, buffer, offset, onBytes, signal) {
  enter(gpu);
  /** @type {Job} */
  const job = { next: begin, stopped: false };
  const lane = async () => {
    while (job.next < end) {
      const from = job.next;
      const to = Math.min(from + CHUNK, end);
      job.next = to;
      await writable(gpu);
      const data = await readRange(reader, from, to);
      signal.throwIfAborted();
      if (job.stopped) return;
      write(gpu, buffer, offset + from - begin, data);
      onBytes(to - from);
    }
  };
  try {
    await guarded(gpu, Promise.all(Array.from({ length: READS }, lane)));
    await checkScopes(gpu);
  } finally {
    job.stopped = true;
    job.next = end;
  }
}

/**
 * @param {Reader} reader
 * @param {number} begin
 * @param {number} end
 */
async function readRange(reader, begin, end) {
  let data;
  try {
    data = await reader(begin, end);
  } catch (error) {
    throw failure('SourceFailed', error.message, `bytes ${begin} to ${end}`);
  }
  if (data.byteLength === end - begin) return data;
  throw failure('SourceFailed', `${data.byteLength} bytes`, `bytes ${begin} to ${end}`);
}

/**
 * Write a chunk that Python has read.
 *
 * @param {Gpu} gpu
 * @param {GPUBuffer} buffer
 * @param {number} offset
 * @param {Uint8Array<ArrayBuffer>} data
 */
export async function uploadChunk(gpu, buffer, offset, data) {
  enter(gpu);
  await writable(gpu);
  write(gpu, buffer, offset, data);
  await checkScopes(gpu);
}

/**
 * Wait until the queue has room; without this, a fast disk would fill the memory.
 *
 * @param {Gpu} gpu
 */
async function writable(gpu) {
  check(gpu);
  while (gpu.writes.bytes >= MAX_UNFINISHED) await guarded(gpu, gpu.writes.fences[0]);
}

/**
 * @param {Gpu} gpu
 * @param {GPUBuffer} buffer
 * @param {number} offset
 * @param {ArrayBuffer|Uint8Array<ArrayBuffer>} data
 */
function write(gpu, buffer, offset, data) {
  alive(gpu);
  const padded = pad(data);
  scoped(gpu, `upload to ${buffer.label}`, () =>
    gpu.device.queue.writeBuffer(buffer, offset, padded));
  gpu.counters.bytes_uploaded += data.byteLength;
  gpu.writes.bytes += padded.byteLength;
  gpu.writes.unfenced += padded.byteLength;
  // Small tensors share a fence: in Firefox one takes a tenth of a second.
  if (gpu.writes.unfenced >= CHUNK) fence(gpu);
}

/** @param {ArrayBuffer|Uint8Array<ArrayBuffer>} data */
function pad(data) {
  if (data.byteLength % 4 === 0) return data;
  const padded = new Uint8Array(Math.ceil(data.byteLength / 4) * 4);
  padded.set(data instanceof ArrayBuffer ? new Uint8Array(data) : data);
  return padded;
}

/** @param {Gpu} gpu */
function fence(gpu) {
  const { writes, device } = gpu;
  const bytes = writes.unfenced;
  writes.unfenced = 0;
  device.queue.submit([]); // some browsers keep writes back until a submit
  gpu.counters.submits += 1;
  const done = () => {
    writes.bytes -= bytes;
    writes.fences.shift();
  };
  writes.fences.push(device.queue.onSubmittedWorkDone().then(done, done));
}
