// Lend the page's GPU code, on Dawn, to tests/support/dawn_device.py.
//
//   node dawn_device.mjs WEB FD       FD: file descriptor of a socket to who asks
//
// A request is the lengths of its header and of its body (u32), then both. The header is
// JSON: {call, values, keep, reply, drop}. In `values`, {handle: n} stands for what an
// earlier call returned, {bytes: [begin, end]} and {doubles: [begin, end]} for a part of
// the body. The result is kept as handle `keep`, if that is not 0; `drop` are handles to
// forget. Replies look alike and come in the order of the calls: {value} or {error}, an
// ArrayBuffer as the body. A call without `reply` ends before the next begins; that it
// failed is told by the next reply.

import { Socket } from 'node:net';
import { loadPage } from './page_on_dawn.mjs';

const [web, fd] = process.argv.slice(2);
const page = await loadPage(web);
const calls = { ...page, prepare, counters: (gpu) => gpu.counters };
const socket = new Socket({ fd: Number(fd) });
const incoming = socket[Symbol.asyncIterator]();
const handles = new Map();
let held = Buffer.alloc(0); // what has come and was not taken
let replies = Promise.resolve();
let failed = null;

for (;;) {
  const lengths = await take(8);
  const header = await take(lengths.readUInt32LE(0));
  obey(parse(header.toString(), await take(lengths.readUInt32LE(4))));
}

/** Wait for that many bytes; there is nothing left to do when they do not come. */
async function take(size) {
  if (held.length < size) {
    const chunks = [held];
    for (let n = held.length; n < size; n += chunks.at(-1).length) {
      const { value, done } = await incoming.next();
      if (done) process.exit(0);
      chunks.push(value);
    }
    held = Buffer.concat(chunks);
  }
  const taken = held.subarray(0, size);
  held = held.subarray(size);
  return taken;
}

async function prepare(...values) {
  const prepared = page.prepare(...values);
  await prepared.ready;
  return prepared;
}

function parse(text, body) {
  const { buffer, byteOffset } = body;
  const part = ([begin, end]) => buffer.slice(byteOffset + begin, byteOffset + end);
  return JSON.parse(text, (key, value) => {
    if (value?.handle) return handles.get(value.handle);
    if (value?.bytes) return new Uint8Array(part(value.bytes));
    if (value?.doubles) return new Float64Array(part(value.doubles));
    return value;
  });
}

function obey({ call, values, keep, reply, drop }) {
  for (const handle of drop) {
    const value = handles.get(handle);
    if (value?.params) page.discard(value);
    handles.delete(handle);
  }
  const result = () => calls[call](...values);
  if (reply) {
    const outcome = wait(result, keep);
    replies = replies.then(() => outcome).then(answer);
    return;
  }
  try {
    const value = result();
    if (keep) handles.set(keep, value);
  } catch (error) {
    failed ??= error;
  }
}

async function wait(result, keep) {
  try {
    const value = await result();
    if (keep) handles.set(keep, value);
    return { value: keep ? null : value };
  } catch (error) {
    return { error };
  }
}

function answer({ value = null, error = failed }) {
  failed = null;
  const body = Buffer.from(value instanceof ArrayBuffer ? value : []);
  const told = error && { name: error.name, message: error.message, what: error.what };
  const header = Buffer.from(JSON.stringify(told ? { error: told } : { value }));
  const lengths = Buffer.alloc(8);
  lengths.writeUInt32LE(header.length, 0);
  lengths.writeUInt32LE(body.length, 4);
  socket.write(Buffer.concat([lengths, header, body]));
}
