// Compile WGSL with Tint, the compiler of Chromium, on Dawn's null back-end: no GPU.
//
//   node dawn_lint.mjs < SHADERS > MESSAGES
//
// SHADERS is a JSON array of {name, code, features}: `features` are the WebGPU features
// that the text needs, and the `enable` lines for them are put before it here.
// MESSAGES is a JSON array of {name, messages}, one string for each fault or warning.

import { text } from "node:stream/consumers";
import { create } from "webgpu";

const ENABLES = { "shader-f16": "enable f16;\n", subgroups: "enable subgroups;\n" };
const OPTIONS = ["backend=null", "enable-dawn-features=allow_unsafe_apis"];

const gpu = create(OPTIONS);
const devices = new Map();

async function deviceWith(features) {
  const key = [...features].sort().join();
  if (!devices.has(key)) {
    const adapter = await gpu.requestAdapter();
    devices.set(key, await adapter.requestDevice({ requiredFeatures: features }));
  }
  return devices.get(key);
}

async function lint({ name, code, features = [] }) {
  const device = await deviceWith(features);
  const enables = features.map((feature) => ENABLES[feature] ?? "").join("");
  device.pushErrorScope("validation");
  const shader = device.createShaderModule({ label: name, code: enables + code });
  const info = await shader.getCompilationInfo();
  const messages = info.messages.map(
    ({ type, lineNum, linePos, message }) =>
      `${type}: line ${lineNum}:${linePos}: ${message}`,
  );
  const error = await device.popErrorScope();
  if (error && messages.length === 0) messages.push(`error: ${error.message}`);
  return { name, messages };
}

const shaders = JSON.parse(await text(process.stdin));
const results = [];
for (const shader of shaders) results.push(await lint(shader));
process.stdout.write(JSON.stringify(results), () => process.exit(0));
