/**
 * The settings: what they are, where they are kept, and their panel.
 *
 * What a person sets is kept; everything else is the model's own, or else the default.
 *
 * @typedef {object} Profile the settings of one kind of model
 * @property {string} key where what a person sets is kept
 * @property {object} defaults the model's own settings
 * @property {string} note what a person should know of them, empty if nothing
 * @property {number|null} context in tokens: what the model's own setting is, if it has one
 * @property {boolean} fixedContext whether the context is the model's own affair
 */

import { element } from '../shared/dom.js';
import { count } from '../shared/format.js';

/** @type {Profile} */
export const OWN_FILES = {
  key: 'lapidary.settings', defaults: {}, note: '', context: null, fixedContext: false,
};

/** Sampling as Gemma 4 is published with; null leaves the choice to the engine. */
const DEFAULTS = {
  temperature: 1,
  top_k: 64,
  top_p: 0.95,
  min_p: 0,
  repetition_penalty: 1,
  repeat_last_n: null,
  presence_penalty: null,
  frequency_penalty: null,
  seed: null,
  stops: [],
  max_tokens: 2048,
  n_ctx: null,
  think: false,
};
const OPTIONAL = new Set(['seed', 'n_ctx']);
/** What a model of Ollama's may bring, and the panel does not offer. */
const BROUGHT = ['repeat_last_n', 'presence_penalty', 'frequency_penalty'];
const SAMPLING = [
  'temperature', 'top_k', 'top_p', 'min_p', 'repetition_penalty', ...BROUGHT, 'seed',
];
const INTEGERS = new Set(['top_k', 'seed', 'max_tokens', 'n_ctx']);
const FIELDS = Object.keys(DEFAULTS).filter((name) => ![...BROUGHT, 'think'].includes(name));

/**
 * Keep the settings and wire their panel.
 *
 * @param {HTMLDialogElement} panel
 * @param {() => void} onChange called after every change
 */
export function createSettings(panel, onChange) {
  const values = {};
  const kept = new Map(); // by key, for windows that may store nothing
  let chosen = {};
  let profile = OWN_FILES;

  function set(name, value) {
    chosen[name] = value;
    values[name] = value;
    keep();
    onChange();
  }

  /** Set a value from outside the panel, and show it there. */
  function choose(name, value) {
    set(name, value);
    showField(panel, name, value);
  }

  function keep() {
    kept.set(profile.key, chosen);
    store(profile, chosen);
  }

  /** Take the settings for one kind of model in place of the other's. */
  function use(newProfile) {
    profile = newProfile;
    chosen = kept.get(profile.key) ?? stored(profile);
    const note = panel.querySelector('#profile-note');
    note.textContent = profile.note;
    note.hidden = !profile.note;
    const context = panel.querySelector('#n_ctx');
    context.disabled = profile.fixedContext;
    context.options[0].text = profile.context ? `Auto: ${count(profile.context)}` : 'Automatic';
    show();
  }

  function show() {
    Object.assign(values, DEFAULTS, profile.defaults, chosen);
    for (const name of FIELDS) showField(panel, name, values[name]);
    for (const note of panel.querySelectorAll('.said')) note.textContent = '';
  }

  /** Once a field is left, what cannot be used becomes what is nearest to it. */
  function settle(name, input) {
    const isUsable = parse(name, input) !== undefined;
    const usual = { ...DEFAULTS, ...profile.defaults }[name];
    const { value, text } = isUsable ? { value: values[name], text: '' } : nearest(input, usual);
    if (!isUsable) set(name, value);
    showField(panel, name, value);
    say(input, text);
  }

  for (const name of FIELDS) {
    const input = panel.querySelector(`#${name}`);
    input.addEventListener('input', () => {
      const value = parse(name, input);
      if (value === undefined) return;
      say(input, '');
      set(name, value);
      showOutput(panel, name, value);
    });
    input.addEventListener('change', () => settle(name, input));
  }
  panel.querySelector('#reset-settings').addEventListener('click', () => {
    chosen = 'think' in chosen ? { think: chosen.think } : {};
    keep();
    show();
    onChange();
  });
  use(OWN_FILES);
  return { values, set, choose, use, sampling: () => sampling(values) };
}

/** The sampling part, as the engine takes it: a seed only when one is set. */
function sampling(values) {
  const given = SAMPLING.filter((name) => values[name] !== null);
  return Object.fromEntries(given.map((name) => [name, values[name]]));
}

/** Read a field; undefined when what stands there cannot be used. */
function parse(name, input) {
  if (name === 'stops') return input.value.split('\n').map(readText).filter(Boolean);
  if (input.value === '') return OPTIONAL.has(name) && !input.validity.badInput ? null : undefined;
  const value = Number(input.value);
  if (!Number.isFinite(value) || !input.validity.valid) return undefined;
  return INTEGERS.has(name) && !Number.isInteger(value) ? undefined : value;
}

/** Find the nearest value that a field may have, and what to say of it. */
function nearest(input, usual) {
  const { min, max, value: typed, validity } = input;
  const isEmpty = typed === '' && !validity.badInput;
  if (typed === '') {
    const shown = usual === null ? 'empty' : count(usual);
    const text = isEmpty ? `When empty, ${shown} is used.` : `Not a number: ${shown} is used.`;
    return { value: usual, text };
  }
  const value = Math.min(Math.max(Math.round(Number(typed)), Number(min)), Number(max));
  return { value, text: `Whole numbers from ${count(min)} to ${count(max)}: ${count(value)} is used.` };
}

/** Say next to a field what became of what was typed; nothing when it stands as typed. */
function say(input, text) {
  const id = `${input.id}-said`;
  const note = input.parentElement.querySelector(`#${id}`) ?? element('p', 'help said');
  note.id = id;
  note.setAttribute('role', 'status');
  input.after(note);
  note.textContent = text;
}

function showField(panel, name, value) {
  const text = name === 'stops' ? value.map(showText).join('\n') : value ?? '';
  const field = panel.querySelector(`#${name}`);
  if (name === 'n_ctx') offer(field, value);
  field.value = text;
  showOutput(panel, name, value);
}

/** Have a value among those to choose from: one that was worked out may be any. */
function offer(select, value) {
  const all = [...select.options];
  if (value === null || all.some((option) => option.value === String(value))) return;
  const next = all.find((option) => Number(option.value) > value) ?? null;
  select.add(new Option(count(value), value), next);
}

function showOutput(panel, name, value) {
  const output = panel.querySelector(`output[for="${name}"]`);
  if (output) output.textContent = Number(value).toFixed(2);
}

/** A text in one line: what cannot be seen in it, a line's end above all, is escaped. */
function showText(text) {
  return JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"');
}

function readText(line) {
  try {
    return JSON.parse(`"${line.replaceAll('"', '\\"')}"`);
  } catch {
    return line; // a lone backslash is one
  }
}

/** What was kept last time, as far as it is of the right kind. */
function stored({ key }) {
  try {
    const found = JSON.parse(localStorage.getItem(key)) ?? {};
    const good = Object.entries(found).filter(([name, value]) => usable(name, value));
    return Object.fromEntries(good);
  } catch {
    return {};
  }
}

function usable(name, value) {
  if (!(name in DEFAULTS)) return false;
  if (name === 'think') return typeof value === 'boolean';
  if (name === 'stops') {
    return Array.isArray(value) && value.every((text) => text && typeof text === 'string');
  }
  return Number.isFinite(value) || (OPTIONAL.has(name) && value === null);
}

function store({ key }, chosen) {
  try {
    localStorage.setItem(key, JSON.stringify(chosen));
  } catch {
    // Private windows may refuse storage; the settings then last as long as the page.
  }
}
