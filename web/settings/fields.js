/**
 * The fields of the settings: showing what holds.
 *
 * @import { Name, Value } from './values.js'
 *
 * @typedef {HTMLInputElement|HTMLSelectElement|HTMLTextAreaElement} Control
 */

import { element, find } from '../shared/dom.js';
import { count } from '../shared/format.js';
import { writeTexts } from './values.js';

/** @type {Name[]} */
const NUMBERS = [
  'temperature', 'top_k', 'top_p', 'min_p', 'repetition_penalty', 'seed', 'max_tokens',
];

/**
 * Find the fields, by the setting that each is for.
 *
 * @returns {Map<Name, Control>}
 */
export function findFields() {
  /** @type {Map<Name, Control>} */
  const fields = new Map(NUMBERS.map((name) => [name, find(name, HTMLInputElement)]));
  fields.set('n_ctx', find('n_ctx', HTMLSelectElement));
  return fields.set('stops', find('stops', HTMLTextAreaElement));
}

/**
 * Say next to a field what became of what was typed; nothing when it stands as typed.
 *
 * @param {Control} field
 * @param {string} text
 */
export function say(field, text) {
  const id = `${field.id}-said`;
  const note = field.parentElement?.querySelector(`#${id}`) ?? element('p', 'help said');
  note.id = id;
  note.setAttribute('role', 'status');
  field.after(note);
  note.textContent = text;
}

/**
 * @param {Control} field
 * @param {Value} value
 */
export function showField(field, value) {
  if (field instanceof HTMLSelectElement && typeof value === 'number') offer(field, value);
  field.value = Array.isArray(value) ? writeTexts(value) : String(value ?? '');
  showOutput(field, value);
}

/**
 * Have a value among those to choose from: one that was worked out may be any.
 *
 * @param {HTMLSelectElement} select
 * @param {number} value
 */
function offer(select, value) {
  const all = [...select.options];
  if (all.some((option) => option.value === String(value))) return;
  const next = all.find((option) => Number(option.value) > value) ?? null;
  select.add(new Option(count(value), String(value)), next);
}

/**
 * Show beside a slider where it stands.
 *
 * @param {Control} field
 * @param {Value} value
 */
export function showOutput(field, value) {
  const output = document.querySelector(`output[for="${field.id}"]`);
  if (output) output.textContent = typeof value === 'number' ? value.toFixed(2) : '';
}
