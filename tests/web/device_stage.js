/** What device_cases.py cannot do in Python: faults of the GPU, and a file of any size. */

/** @returns the functions of its module `stage` */
export function makeStage(pyodide) {
  return {
    setWebGPU,
    restoreWebGPU,
    loseDevice: (gpu) => gpu.device.destroy(),
    failScope,
    makeReader,
    heapBytes: () => pyodide._module.HEAPU8.length,
    parse: JSON.parse,
  };
}

let real;

/** Put something else in the place of WebGPU: `missing`, `no adapter` or `no device`. */
function setWebGPU(answer) {
  real ??= navigator.gpu;
  const adapter = answer === 'no device' ? { limits: {}, features: new Set(), requestDevice } : null;
  replaceWebGPU(answer === 'missing' ? undefined : { requestAdapter: async () => adapter });
}

async function requestDevice() {
  throw new Error('this adapter has given one already');
}

function restoreWebGPU() {
  replaceWebGPU(real);
}

function replaceWebGPU(value) {
  Object.defineProperty(navigator, 'gpu', { value, configurable: true });
}

/** Let the next error scope answer with an error of this class. */
function failScope({ device }, name) {
  const pop = device.popErrorScope;
  device.popErrorScope = async () => {
    delete device.popErrorScope;
    await pop.call(device);
    return new globalThis[name]('there is none');
  };
}

/**
 * A reader whose byte at `offset` is offset modulo 251, with a count of its calls; the
 * read that covers `at` may `fail`, be too `short`, or `stall` for ever.
 */
function makeReader(fault, at) {
  const stats = { calls: 0, inFlight: 0, mostInFlight: 0 };
  const reader = async (begin, end) => {
    stats.calls += 1;
    stats.inFlight += 1;
    stats.mostInFlight = Math.max(stats.mostInFlight, stats.inFlight);
    await new Promise((resolve) => setTimeout(resolve, 3 * Math.random()));
    const faulty = begin <= at && at < end ? fault : '';
    if (faulty === 'stall') await new Promise(() => {});
    stats.inFlight -= 1;
    if (faulty === 'fail') throw new Error('the disk is gone');
    return pattern(begin, end - begin - (faulty === 'short' ? 1 : 0)).buffer;
  };
  return { reader, stats };
}

function pattern(begin, size) {
  const bytes = new Uint8Array(size);
  let value = begin % 251;
  for (let i = 0; i < size; i++) {
    bytes[i] = value;
    value = value === 250 ? 0 : value + 1;
  }
  return bytes;
}
