/**
 * Replay: a plan, once or several times, becomes one command encoder, one compute pass
 * and one submit.
 *
 * @import { Gpu, Pipeline } from './gpu.js'
 *
 * @typedef {object} Step one dispatch, ready to encode
 * @property {GPUComputePipeline} pipeline
 * @property {GPUBindGroup} group
 * @property {number} x workgroups
 * @property {number} y
 * @property {number} z
 *
 * @typedef {object} Prepared a plan that can be replayed until it is discarded
 * @property {string} label
 * @property {Step[]} steps
 * @property {GPUBuffer} params the uniforms of all steps
 * @property {Promise<void>} ready told whether all of it could be made
 */

import { check, checkScopes, enter, guarded, scoped } from './faults.js';
import { createBuffer } from './gpu.js';

/** Numbers of one dispatch in `commands` before its views, and of each view. */
const HEAD = 7;
const VIEW = 3;
/** Bytes; read-back buffers come in powers of two from here on … */
const SMALLEST_BUFFER = 256;
/** … and larger ones than this are not kept. */
const LARGEST_KEPT = 4 << 20;
/** Milliseconds in which a lost device says that it is. */
const GRACE = 500;
/** Milliseconds between nudges of a browser that looks for finished work on a tick. */
const NUDGE = 3;

/**
 * Make the uniforms and the bind groups of a plan.
 *
 * It is there at once, for whoever takes it back before it is ready to discard.
 *
 * @param {Gpu} gpu
 * @param {string} label
 * @param {string[]} names one for each dispatch
 * @param {Uint8Array<ArrayBuffer>} arena the uniforms of all dispatches
 * @param {Float64Array} commands for each dispatch: index of its pipeline, workgroups x,
 *   y, z, offset and size of its uniform, number of views; then for each view: index of
 *   its buffer, offset, size
 * @param {GPUBuffer[]} buffers
 * @param {Pipeline[]} pipelines
 * @returns {Prepared}
 */
export function prepare(gpu, label, names, arena, commands, buffers, pipelines) {
  enter(gpu);
  const made = scoped(gpu, `plan ${label}`, () => {
    const params = createParams(gpu, label, arena);
    const steps = makeSteps(gpu, names, commands, [params, ...buffers], pipelines);
    return { label, steps, params };
  });
  return { ...made, ready: checkScopes(gpu) };
}

/**
 * Free what a plan was prepared with: a browser's own collection takes its time, since it
 * sees a small object and not the memory of the GPU.
 *
 * @param {Prepared} prepared
 */
export function discard(prepared) {
  prepared.params.destroy();
  prepared.steps.length = 0;
}

/**
 * @param {Gpu} gpu
 * @param {string} label
 * @param {Uint8Array<ArrayBuffer>} arena
 */
function createParams({ device, counters }, label, arena) {
  const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
  const size = Math.max(arena.length, SMALLEST_BUFFER);
  const params = device.createBuffer({ label: `${label}.params`, size, usage });
  device.queue.writeBuffer(params, 0, arena);
  counters.objects += 1;
  counters.bytes_uploaded += arena.length;
  return params;
}

/**
 * @param {Gpu} gpu
 * @param {string[]} names
 * @param {Float64Array} commands
 * @param {GPUBuffer[]} buffers
 * @param {Pipeline[]} pipelines
 * @returns {Step[]}
 */
function makeSteps(gpu, names, commands, buffers, pipelines) {
  let at = 0;
  return names.map((name) => {
    const [index, x, y, z, offset, size, nViews] = commands.subarray(at, at + HEAD);
    const views = commands.subarray(at + HEAD, at + HEAD + nViews * VIEW);
    at += HEAD + views.length;
    const { pipeline, layout } = pipelines[index];
    const resources = [{ buffer: buffers[0], offset, size }];
    for (let v = 0; v < views.length; v += VIEW) {
      // Number 0 is the uniforms'.
      const buffer = buffers[1 + views[v]];
      resources.push({ buffer, offset: views[v + 1], size: views[v + 2] });
    }
    const entries = resources.map((resource, binding) => ({ binding, resource }));
    const group = gpu.device.createBindGroup({ label: name, layout, entries });
    gpu.counters.objects += 1;
    return { pipeline, group, x, y, z };
  });
}

/**
 * Replay a plan without waiting.
 *
 * @param {Gpu} gpu
 * @param {Prepared} prepared
 */
export function submit(gpu, prepared) {
  enter(gpu);
  const encoder = gpu.device.createCommandEncoder({ label: prepared.label });
  encode(gpu, encoder, prepared, 1);
  send(gpu, encoder);
}

/**
 * Replay a plan, if one is given, and read a range of a buffer, all in one submit, which
 * is made before this returns.
 *
 * @param {Gpu} gpu
 * @param {Prepared|null} prepared
 * @param {number} times
 * @param {GPUBuffer} source
 * @param {number} offset in bytes
 * @param {number} size in bytes, a multiple of four
 * @returns {Promise<ArrayBuffer>}
 */
export function run(gpu, prepared, times, source, offset, size) {
  const bytes = replayAndRead(gpu, prepared, times, source, offset, size);
  // Two may be under way. When the device is lost, both fail, and the second is nobody's
  // until the first has been awaited.
  bytes.catch(() => {});
  return bytes;
}

/**
 * @param {Gpu} gpu
 * @param {Prepared|null} prepared
 * @param {number} times
 * @param {GPUBuffer} source
 * @param {number} offset
 * @param {number} size
 */
async function replayAndRead(gpu, prepared, times, source, offset, size) {
  enter(gpu);
  const encoder = gpu.device.createCommandEncoder();
  if (prepared) encode(gpu, encoder, prepared, times);
  const staging = takeStaging(gpu, size);
  encoder.copyBufferToBuffer(source, offset, staging, 0, size);
  send(gpu, encoder);
  try {
    const mapped = staging.mapAsync(GPUMapMode.READ, 0, size);
    await guarded(gpu, nudged(gpu, mapped)).catch((error) => explain(gpu, error));
    if (gpu.scopes.size) await checkScopes(gpu);
    check(gpu);
  } catch (error) {
    staging.destroy();
    throw error;
  }
  const bytes = staging.getMappedRange(0, size).slice(0);
  gpu.counters.bytes_read += size;
  keepStaging(gpu, staging);
  return bytes;
}

/**
 * Wait, and have the browser look whether it is over.
 *
 * Firefox 153 looks every 100 ms, and whenever something is submitted, be it nothing: with
 * nudges an answer takes 3 ms.
 *
 * @param {Gpu} gpu
 * @param {Promise<void>} promise
 */
async function nudged({ ticks, device }, promise) {
  if (!ticks) return promise;
  const timer = setInterval(() => device.queue.submit([]), NUDGE);
  try {
    return await promise;
  } finally {
    clearInterval(timer);
  }
}

/**
 * Throw why a mapping failed, if that can be learned: `error` itself says little.
 *
 * @param {Gpu} gpu
 * @param {unknown} error
 * @returns {Promise<never>}
 */
async function explain(gpu, error) {
  await checkScopes(gpu);
  // Firefox ends the mappings of a lost device before it says that it is lost.
  await guarded(gpu, new Promise((resolve) => setTimeout(resolve, GRACE)));
  check(gpu);
  throw error;
}

/**
 * Wait until all that was queued is done, and throw what went wrong in it.
 *
 * @param {Gpu} gpu
 */
export async function settle(gpu) {
  gpu.marker ??= createBuffer(gpu, 'marker', SMALLEST_BUFFER);
  // Work is done in order. `onSubmittedWorkDone` would not say that the device is lost.
  await run(gpu, null, 0, gpu.marker, 0, 4);
}

/**
 * @param {Gpu} gpu
 * @param {GPUCommandEncoder} encoder
 * @param {Prepared} prepared
 * @param {number} times
 */
function encode(gpu, encoder, { steps }, times) {
  const pass = encoder.beginComputePass();
  /** @type {GPUComputePipeline|null} */
  let current = null;
  for (let i = 0; i < times; i += 1) {
    for (const { pipeline, group, x, y, z } of steps) {
      if (pipeline !== current) pass.setPipeline(pipeline);
      current = pipeline;
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(x, y, z);
    }
  }
  pass.end();
  gpu.counters.dispatches += times * steps.length;
}

/**
 * @param {Gpu} gpu
 * @param {GPUCommandEncoder} encoder
 */
function send(gpu, encoder) {
  gpu.device.queue.submit([encoder.finish()]);
  gpu.counters.submits += 1;
}

/**
 * @param {Gpu} gpu
 * @param {number} size
 */
function takeStaging(gpu, size) {
  let capacity = SMALLEST_BUFFER;
  while (capacity < size) capacity *= 2;
  if (capacity > LARGEST_KEPT) capacity = size;
  const kept = gpu.staging.get(capacity)?.pop();
  if (kept) return kept;
  gpu.counters.objects += 1;
  return scoped(gpu, `read-back of ${size} bytes`, () =>
    gpu.device.createBuffer({
      label: 'staging',
      size: capacity,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    }));
}

/**
 * @param {Gpu} gpu
 * @param {GPUBuffer} staging
 */
function keepStaging(gpu, staging) {
  staging.unmap();
  if (staging.size > LARGEST_KEPT) {
    staging.destroy();
    return;
  }
  if (!gpu.staging.has(staging.size)) gpu.staging.set(staging.size, []);
  gpu.staging.get(staging.size)?.push(staging);
}
