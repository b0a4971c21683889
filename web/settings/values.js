/**
 * What the settings are, what of them may be kept, and how texts are written in a field.
 *
 * How tokens are chosen unless somebody says otherwise is the driver's affair: such a value
 * is null until the driver, a model or a person has told it.
 *
 * @import { Sampling } from '../engine/messages.js'
 *
 * @typedef {Record<keyof Sampling, number|null>} Choice how tokens are chosen
 *
 * @typedef {object} Reply what else holds for a reply and its model
 * @property {string[]} stops texts before which a reply ends
 * @property {number} max_tokens
 * @property {number|null} n_ctx in tokens; null is the model's own
 * @property {boolean} think
 *
 * @typedef {Choice & Reply} Values
 * @typedef {keyof Values} Name
 * @typedef {Values[Name]} Value
 *
 * @typedef {object} Typed what stands in a field
 * @property {string} value
 * @property {{badInput: boolean, valid: boolean}} validity
 * @property {string} [min]
 * @property {string} [max]
 */

import { count } from '../shared/format.js';

/** @type {Values} */
export const UNTOLD = {
  temperature: null,
  top_k: null,
  top_p: null,
  min_p: null,
  repetition_penalty: null,
  repeat_last_n: null,
  presence_penalty: null,
  frequency_penalty: null,
  seed: null,
  stops: [],
  max_tokens: 2048,
  n_ctx: null,
  think: false,
};
/** What may be left empty, which means something. */
const OPTIONAL = new Set(['seed', 'n_ctx']);
const INTEGERS = new Set(['top_k', 'seed', 'max_tokens', 'n_ctx']);
/** @type {(keyof Sampling)[]} */
const SAMPLING = [
  'temperature', 'top_k', 'top_p', 'min_p', 'repetition_penalty', 'repeat_last_n',
  'presence_penalty', 'frequency_penalty', 'seed',
];

/**
 * The sampling part, as the engine takes it: what is not said is left to the driver.
 *
 * @param {Partial<Values>} said by the model and the person
 * @returns {Sampling}
 */
export function sampling(said) {
  const given = SAMPLING.filter((name) => (said[name] ?? null) !== null);
  return Object.fromEntries(given.map((name) => [name, said[name]]));
}

/**
 * Return what of a text that was kept is of the right kind.
 *
 * @param {string|null} text
 * @returns {Partial<Values>}
 */
export function readKept(text) {
  try {
    const found = Object.entries(JSON.parse(text ?? '{}') ?? {});
    return Object.fromEntries(found.filter(([name, value]) => isUsable(name, value)));
  } catch {
    return {};
  }
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function isUsable(name, value) {
  if (!(name in UNTOLD)) return false;
  if (name === 'think') return typeof value === 'boolean';
  if (name === 'stops') {
    return Array.isArray(value) && value.every((text) => text && typeof text === 'string');
  }
  return Number.isFinite(value) || (OPTIONAL.has(name) && value === null);
}

/**
 * Write texts one a line: what cannot be seen in them, a line's end above all, is escaped.
 *
 * @param {string[]} texts
 */
export function writeTexts(texts) {
  return texts.map((text) => JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"')).join('\n');
}

/**
 * Read texts, one a line.
 *
 * @param {string} lines
 */
export const readTexts = (lines) => lines.split('\n').map(readText).filter(Boolean);

/**
 * @param {string} line
 * @returns {string}
 */
function readText(line) {
  try {
    return JSON.parse(`"${line.replaceAll('"', '\\"')}"`);
  } catch {
    return line; // a lone backslash is one
  }
}

/**
 * Read what was typed; undefined when it cannot be used.
 *
 * @param {Name} name
 * @param {Typed} typed
 * @returns {Value|undefined}
 */
export function readValue(name, { value: text, validity }) {
  if (name === 'stops') return readTexts(text);
  if (text === '') return OPTIONAL.has(name) && !validity.badInput ? null : undefined;
  const value = Number(text);
  if (!Number.isFinite(value) || !validity.valid) return undefined;
  return INTEGERS.has(name) && !Number.isInteger(value) ? undefined : value;
}

/**
 * Find the nearest value that a field may have, and what to say of it.
 *
 * @param {Typed} typed
 * @param {Value} usual
 * @returns {{value: Value, text: string}}
 */
export function nearest({ value: typed, validity, min, max }, usual) {
  if (typed === '') {
    const shown = typeof usual === 'number' ? count(usual) : 'empty';
    const text = validity.badInput
      ? `Not a number: ${shown} is used.` : `When empty, ${shown} is used.`;
    return { value: usual, text };
  }
  const [least, most] = [Number(min), Number(max)];
  const value = Math.min(Math.max(Math.round(Number(typed)), least), most);
  return { value, text: `Whole numbers from ${count(least)} to ${count(most)}: ${count(value)} is used.` };
}
