/**
 * The GPU: its device, buffers and pipelines.
 *
 * @typedef {object} Counters what was done so far, for tests and for the details view
 * @property {number} submits command buffers handed over, and flushes of uploads
 * @property {number} dispatches
 * @property {number} host_calls calls from Python
 * @property {number} bytes_uploaded
 * @property {number} bytes_read
 * @property {number} objects buffers, shader modules, layouts, pipelines, bind groups
 *
 * @typedef {object} Gpu an open device
 * @property {GPUAdapter} adapter
 * @property {GPUDevice} device
 * @property {string|null} lost why the device is gone
 * @property {((message: string) => void)|null} onLost
 * @property {Error|null} problem the first failure that nobody was told of yet
 * @property {Set<(problem: Error) => void>} waiting ends what waits for a lost device
 * @property {Set<Promise<unknown>>} scopes error scopes that have not answered yet
 * @property {Map<number, GPUBuffer[]>} staging idle read-back buffers by size
 * @property {GPUBuffer|null} marker read to learn that all work is done
 * @property {boolean} ticks whether the browser learns on a slow tick that work is done
 * @property {{bytes: number, unfenced: number, fences: Promise<void>[]}} writes what the
 *   queue has been given and has not done yet
 * @property {Counters} counters
 *
 * @typedef {{pipeline: GPUComputePipeline, layout: GPUBindGroupLayout}} Pipeline
 *
 * @typedef {keyof typeof ACCESS} Access how a kernel's binding is used
 * @typedef {Exclude<keyof GPUSupportedLimits, '__brand'>} Limit
 */

import {
  alive, enter, failure, firstParagraph, guarded, lose, remember, scoped,
} from './faults.js';

/** Milliseconds of an answer of an idle device, beyond which it comes on a tick. */
const PROMPT = 40;
/** @satisfies {Record<string, GPUBufferBindingType>} */
const ACCESS = /** @type {const} */ ({
  uniform: 'uniform',
  read: 'read-only-storage',
  read_write: 'storage',
});

/**
 * Open the adapter that the browser prefers.
 *
 * @param {Limit[]} limitNames limits to ask for at the adapter's own values
 * @param {GPUFeatureName[]} featureNames features to ask for where the adapter has them
 * @param {boolean} hadOne whether there was an adapter earlier
 * @returns {Promise<Gpu>}
 */
export async function openDevice(limitNames, featureNames = [], hadOne = false) {
  const adapter = await requestAdapter(hadOne ? 'AdapterGone' : 'AdapterMissing');
  const limits = limitNames.map((name) => [name, adapter.limits[name]]);
  const device = await adapter
    .requestDevice({
      label: 'lapidary',
      requiredFeatures: featureNames.filter((name) => adapter.features.has(name)),
      requiredLimits: Object.fromEntries(limits.filter(([, value]) => value !== undefined)),
    })
    .catch((error) => {
      throw failure('DeviceRefused', error.message);
    });
  /** @type {Gpu} */
  const gpu = {
    adapter, device, lost: null, onLost: null, problem: null,
    waiting: new Set(), scopes: new Set(), staging: new Map(), marker: null, ticks: false,
    writes: { bytes: 0, unfenced: 0, fences: [] },
    counters: {
      submits: 0, dispatches: 0, host_calls: 0, bytes_uploaded: 0, bytes_read: 0, objects: 0,
    },
  };
  device.addEventListener('uncapturederror', ({ error }) => remember(gpu, '', error));
  device.lost.then(({ message, reason }) => lose(gpu, message || `reason: ${reason}`));
  gpu.ticks = await isTicking(device);
  return gpu;
}

/**
 * Measure from one answer to the next: Firefox takes 100 ms, Chromium less than one.
 *
 * @param {GPUDevice} device
 */
async function isTicking(device) {
  const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
  const buffer = device.createBuffer({ label: 'tick', size: 4, usage });
  let start = 0;
  for (let i = 0; i < 2; i += 1) {
    start = performance.now();
    await buffer.mapAsync(GPUMapMode.READ).catch(() => {}); // a lost device says so later
    buffer.unmap();
  }
  buffer.destroy();
  return performance.now() - start > PROMPT;
}

/**
 * Throw what `missing` names where the browser has WebGPU and no adapter for it.
 *
 * @param {string} missing
 */
async function requestAdapter(missing) {
  const webgpu = globalThis.navigator?.gpu;
  if (!webgpu) {
    const secure = globalThis.isSecureContext !== false;
    throw failure('WebGPUMissing', secure ? 'no navigator.gpu' : 'an address without https');
  }
  const adapter = await webgpu
    .requestAdapter({ powerPreference: 'high-performance' })
    .catch((error) => {
      throw failure(missing, error.message);
    });
  if (!adapter) throw failure(missing, 'an answer without an adapter');
  return adapter;
}

/**
 * Say what is known of the adapter, and what the device may use.
 *
 * @param {Gpu} gpu
 * @param {Limit[]} limitNames
 */
export function describeDevice({ adapter, device }, limitNames) {
  const info = adapter.info ?? {};
  return {
    vendor: info.vendor ?? '',
    architecture: info.architecture ?? '',
    device: info.device ?? '',
    description: info.description ?? '',
    is_fallback: info.isFallbackAdapter ?? false,
    features: [...device.features],
    subgroup: info.subgroupMinSize ?? 0,
    limits: limitNames.map((name) => device.limits[name]),
  };
}

/**
 * Call `onLost` with the reason when the device is lost, at once if it is already.
 *
 * @param {Gpu} gpu
 * @param {((message: string) => void)|null} onLost
 */
export function watchLost(gpu, onLost) {
  gpu.onLost = onLost;
  if (gpu.lost !== null) onLost?.(gpu.lost);
}

/**
 * Give the device back; nobody is told that it is lost.
 *
 * @param {Gpu} gpu
 */
export function closeDevice(gpu) {
  gpu.onLost = null;
  gpu.device.destroy();
  lose(gpu, 'the device was closed');
}

/**
 * Make a buffer. That there was no memory for it is thrown by the next awaited call.
 *
 * @param {Gpu} gpu
 * @param {string} label
 * @param {number} size in bytes
 * @returns {GPUBuffer}
 */
export function createBuffer(gpu, label, size) {
  enter(gpu);
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  gpu.counters.objects += 1;
  return scoped(gpu, `buffer ${label} (${size} bytes)`, () =>
    gpu.device.createBuffer({ label, size, usage }));
}

/** @param {GPUBuffer[]} buffers */
export function destroyBuffers(buffers) {
  for (const buffer of buffers) buffer.destroy();
}

/**
 * Queue a write of few bytes.
 *
 * @param {Gpu} gpu
 * @param {GPUBuffer} buffer
 * @param {number} offset in bytes, a multiple of four
 * @param {Uint8Array<ArrayBuffer>} data its length a multiple of four
 */
export function writeBuffer(gpu, buffer, offset, data) {
  enter(gpu);
  gpu.device.queue.writeBuffer(buffer, offset, data);
  gpu.counters.bytes_uploaded += data.byteLength;
}

/**
 * Compile one variant of a kernel.
 *
 * @param {Gpu} gpu
 * @param {string} label
 * @param {string} code
 * @param {[number, Access][]} bindings number and access of each
 * @param {[string, number][]} overrides
 * @returns {Promise<Pipeline>}
 */
export async function compile(gpu, label, code, bindings, overrides) {
  enter(gpu);
  const { device } = gpu;
  gpu.counters.objects += 4;
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ label, code });
  const layout = createLayout(device, label, bindings);
  const made = device.createComputePipelineAsync({
    label,
    layout: device.createPipelineLayout({ label, bindGroupLayouts: [layout] }),
    compute: { module, entryPoint: 'main', constants: Object.fromEntries(overrides) },
  });
  const scope = device.popErrorScope().catch(() => null);
  try {
    return { pipeline: await guarded(gpu, made), layout };
  } catch (error) {
    alive(gpu);
    const fault = (await guarded(gpu, scope)) ?? error;
    throw failure('ShaderCompile', await explain(gpu, module, code, fault.message), label);
  }
}

/**
 * @param {GPUDevice} device
 * @param {string} label
 * @param {[number, Access][]} bindings
 */
function createLayout(device, label, bindings) {
  const entries = bindings.map(([binding, access]) => ({
    binding,
    visibility: GPUShaderStage.COMPUTE,
    buffer: { type: ACCESS[access] },
  }));
  return device.createBindGroupLayout({ label, entries });
}

/**
 * Name the compiler's first error with three source lines; else say `message`.
 *
 * @param {Gpu} gpu
 * @param {GPUShaderModule} module
 * @param {string} code
 * @param {string} message
 */
async function explain(gpu, module, code, message) {
  const { messages } = await guarded(gpu, module.getCompilationInfo());
  const first = messages.find(({ type }) => type === 'error');
  if (!first || first.lineNum < 1) return firstParagraph(message);
  const lines = code.split('\n');
  const begin = Math.max(0, first.lineNum - 2);
  const excerpt = lines
    .slice(begin, first.lineNum + 1)
    .map((line, i) => `${String(begin + i + 1).padStart(5)} | ${line}`);
  const place = `line ${first.lineNum}:${first.linePos}`;
  return [`${place}: ${first.message.trim().split('\n')[0]}`, ...excerpt].join('\n');
}
