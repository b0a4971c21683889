/**
 * How fast this machine is: what was measured of its adapters, which kernels are the
 * fastest there, what was predicted of a model, and what became of it. All of it is kept
 * in this browser.
 *
 * @import {
 *   Chosen, GenerateDone, Info, LoadDone, Measured, Preflight, StoppedDone,
 * } from '../engine/messages.js'
 *
 * @typedef {object} Speed of the last reply of a model on an adapter
 * @property {number} measured in tokens per second
 * @property {number} [predicted] at most, for a cache as full
 * @property {number} [reached] what share of that it was
 * @property {number} n_keys how full it was, in tokens
 */

import { rate, share } from '../shared/format.js';

const DEVICES = 'lapidary.devices';
const CHOSEN = 'lapidary.kernels';
const SPEEDS = 'lapidary.speeds';
const KEPT = 64; // entries of each: the oldest go first

/** @returns {Record<string, Measured>} by the adapter's name */
export const devices = () => read(DEVICES);

/**
 * Keep what was measured of an adapter, if it was.
 *
 * @param {Preflight} preflight
 */
export function keepDevice({ adapter, measured }) {
  if (measured) write(DEVICES, adapter, measured);
}

/** @returns {Record<string, Chosen>} which kernels are the fastest, by the adapter's name */
export const chosen = () => read(CHOSEN);

/**
 * Keep which kernels are the fastest on an adapter, as the engine says after a load.
 *
 * @param {LoadDone} done
 */
export function keepChosen({ info, chosen: kernels }) {
  if (kernels) write(CHOSEN, info.adapter, kernels);
}

/**
 * Keep how fast a reply was, unless it was too short to tell.
 *
 * @param {Info} info
 * @param {GenerateDone|StoppedDone} done
 */
export function keepSpeed(info, done) {
  if (!('ids' in done) || !done.tells_speed) return;
  const { tokens_per_second: measured, predicted, reached, n_keys } = done;
  write(SPEEDS, keyOf(info), { measured, predicted, reached, n_keys });
}

/**
 * @param {Info} info
 * @returns {Speed|null}
 */
export const speedOf = (info) => read(SPEEDS)[keyOf(info)] ?? null;

/**
 * Add what was predicted of a model, where the reply came before the measurement.
 *
 * @param {Info} info
 * @param {Pick<Speed, 'predicted'|'reached'>} prediction
 */
export function keepPrediction(info, prediction) {
  const speed = speedOf(info);
  if (speed) write(SPEEDS, keyOf(info), { ...speed, ...prediction });
}

/**
 * Set the measured speed against the predicted one.
 *
 * @param {Partial<Speed>} speed
 */
export function compare({ measured, predicted, reached }) {
  /** @type {string[]} */
  const parts = [];
  if (predicted) parts.push(`predicted at most ${rate(predicted)}`);
  if (measured) parts.push(`measured ${rate(measured)}`);
  return parts.join(', ') + (reached ? ` (${share(reached)})` : '');
}

/** @param {Info} info */
const keyOf = ({ name, weight_bytes, adapter }) => [name, weight_bytes, adapter].join(' · ');

/** @param {string} key */
function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key) ?? '{}');
  } catch {
    return {};
  }
}

/**
 * @param {string} key
 * @param {string} name
 * @param {unknown} value
 */
function write(key, name, value) {
  const { [name]: old, ...others } = read(key);
  const entries = [...Object.entries(others), [name, value]].slice(-KEPT);
  try {
    localStorage.setItem(key, JSON.stringify(Object.fromEntries(entries)));
  } catch {
    // Private windows may refuse storage: it is then measured again next time.
  }
}
