/**
 * The settings: what they are, where they are kept, and their panel.
 *
 * @typedef {object} Profile settings of their own for one kind of model
 * @property {string} key where they are kept
 * @property {object} defaults what differs from the settings below
 * @property {boolean} fixedContext whether the context is the model's own affair
 */

/** @type {Profile} */
export const OWN_FILES = { key: 'lapidary.settings', defaults: {}, fixedContext: false };

/** Sampling as Gemma 4 is published with; null leaves the choice to the engine. */
const DEFAULTS = {
  temperature: 1,
  top_k: 64,
  top_p: 0.95,
  min_p: 0,
  seed: null,
  max_tokens: 2048,
  n_ctx: null,
  think: false,
};
const OPTIONAL = new Set(['seed', 'n_ctx']);
const SAMPLING = ['temperature', 'top_k', 'top_p', 'min_p', 'seed'];
const INTEGERS = new Set(['top_k', 'seed', 'max_tokens', 'n_ctx']);
const FIELDS = Object.keys(DEFAULTS).filter((name) => name !== 'think');

/**
 * Keep the settings and wire their panel.
 *
 * @param {HTMLDialogElement} panel
 * @param {() => void} onChange called after every change
 */
export function createSettings(panel, onChange) {
  const values = {};
  let profile = OWN_FILES;

  function set(name, value) {
    values[name] = value;
    store(profile, values);
    onChange();
  }

  /** Take the settings for one kind of model in place of the other's. */
  function use(newProfile) {
    profile = newProfile;
    Object.assign(values, DEFAULTS, profile.defaults, stored(profile));
    panel.querySelector('#profile-note').hidden = profile === OWN_FILES;
    panel.querySelector('#n_ctx').disabled = profile.fixedContext;
    show();
  }

  function show() {
    for (const name of FIELDS) showField(panel, name, values[name]);
  }

  for (const name of FIELDS) {
    const input = panel.querySelector(`#${name}`);
    input.addEventListener('input', () => {
      const value = parse(name, input);
      if (value === undefined) return;
      set(name, value);
      showOutput(panel, name, value);
    });
    // What cannot be used is put back once the field is left.
    input.addEventListener('change', () => showField(panel, name, values[name]));
  }
  panel.querySelector('#reset-settings').addEventListener('click', () => {
    Object.assign(values, DEFAULTS, profile.defaults, { think: values.think });
    store(profile, values);
    show();
    onChange();
  });
  use(OWN_FILES);
  return { values, set, use, sampling: () => sampling(values) };
}

/** The sampling part, as the engine takes it: a seed only when one is set. */
function sampling(values) {
  const chosen = SAMPLING.filter((name) => values[name] !== null);
  return Object.fromEntries(chosen.map((name) => [name, values[name]]));
}

/** Read a field; undefined when what stands there cannot be used. */
function parse(name, input) {
  if (input.value === '') return OPTIONAL.has(name) && !input.validity.badInput ? null : undefined;
  const value = Number(input.value);
  if (!Number.isFinite(value) || !input.validity.valid) return undefined;
  return INTEGERS.has(name) && !Number.isInteger(value) ? undefined : value;
}

function showField(panel, name, value) {
  panel.querySelector(`#${name}`).value = value ?? '';
  showOutput(panel, name, value);
}

function showOutput(panel, name, value) {
  const output = panel.querySelector(`output[for="${name}"]`);
  if (output) output.textContent = Number(value).toFixed(2);
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
  return Number.isFinite(value) || (OPTIONAL.has(name) && value === null);
}

function store({ key }, values) {
  try {
    localStorage.setItem(key, JSON.stringify(values));
  } catch {
    // Private windows may refuse storage; the settings then last as long as the page.
  }
}
