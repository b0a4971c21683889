/**
 * The settings: where they are kept, and their panel.
 *
 * What a person sets is kept; everything else is the model's own, or else the driver's.
 *
 * @import { Sampling } from '../engine/messages.js'
 * @import { Control } from './fields.js'
 * @import { Name, Values } from './values.js'
 *
 * @typedef {ReturnType<typeof createSettings>} Settings
 *
 * @typedef {object} Profile the settings of one kind of model
 * @property {string} key where what a person sets is kept
 * @property {Partial<Values>} defaults the model's own settings
 * @property {string} note what a person should know of them, empty if nothing
 * @property {number|null} context in tokens: what the model's own setting is, if it has one
 * @property {boolean} fixedContext whether the context is the model's own affair
 */

import { find } from '../shared/dom.js';
import { count } from '../shared/format.js';
import { findFields, say, showField, showOutput } from './fields.js';
import { nearest, readKept, readValue, sampling, UNTOLD } from './values.js';

/** @type {Profile} */
export const OWN_FILES = {
  key: 'lapidary.settings', defaults: {}, note: '', context: null, fixedContext: false,
};

/**
 * Keep the settings and wire their panel.
 *
 * @param {() => void} onChange called after every change
 */
export function createSettings(onChange) {
  const fields = findFields();
  const context = find('n_ctx', HTMLSelectElement);
  const values = { ...UNTOLD };
  /** @type {Map<string, Partial<Values>>} by key, for windows that may store nothing */
  const kept = new Map();
  /** @type {Partial<Values>} what a person has set */
  let chosen = {};
  let profile = OWN_FILES;
  /** @type {Sampling} how the driver chooses unless somebody says otherwise */
  let usual = {};

  /**
   * @template {Name} K
   * @param {K} name
   * @param {Values[K]} value
   */
  function set(name, value) {
    Object.assign(chosen, { [name]: value });
    Object.assign(values, { [name]: value });
    keep();
    onChange();
  }

  /**
   * Set the context from outside the panel, and show it there.
   *
   * @param {number|null} n_ctx
   */
  function chooseContext(n_ctx) {
    set('n_ctx', n_ctx);
    showField(context, n_ctx);
  }

  function keep() {
    kept.set(profile.key, chosen);
    try {
      localStorage.setItem(profile.key, JSON.stringify(chosen));
    } catch {
      // Private windows may refuse storage; the settings then last as long as the page.
    }
  }

  /** What was kept last time. */
  function stored() {
    try {
      return readKept(localStorage.getItem(profile.key));
    } catch {
      return {}; // a private window
    }
  }

  /**
   * Take the settings for one kind of model in place of the other's.
   *
   * @param {Profile} newProfile
   */
  function use(newProfile) {
    profile = newProfile;
    chosen = kept.get(profile.key) ?? stored();
    const note = find('profile-note');
    note.textContent = profile.note;
    note.hidden = !profile.note;
    context.disabled = profile.fixedContext;
    context.options[0].text = profile.context ? `Auto: ${count(profile.context)}` : 'Automatic';
    show();
  }

  /**
   * Hear how the driver chooses: until then there is nothing to show, or to change.
   *
   * @param {Sampling} told
   */
  function learn(told) {
    usual = told;
    find('sampling', HTMLFieldSetElement).disabled = false;
    show();
    onChange();
  }

  function show() {
    Object.assign(values, UNTOLD, usual, profile.defaults, chosen);
    for (const [name, field] of fields) showField(field, values[name]);
    for (const note of document.querySelectorAll('#settings .said')) note.textContent = '';
  }

  /**
   * Once a field is left, what cannot be used becomes what is nearest to it.
   *
   * @param {Name} name
   * @param {Control} field
   */
  function settle(name, field) {
    const isUsable = readValue(name, field) !== undefined;
    const empty = { ...UNTOLD, ...usual, ...profile.defaults }[name];
    const { value, text } = isUsable ? { value: values[name], text: '' } : nearest(field, empty);
    if (!isUsable) set(name, value);
    showField(field, value);
    say(field, text);
  }

  for (const [name, field] of fields) {
    field.addEventListener('input', () => {
      const value = readValue(name, field);
      if (value === undefined) return;
      say(field, '');
      set(name, value);
      showOutput(field, value);
    });
    field.addEventListener('change', () => settle(name, field));
  }
  find('reset-settings').addEventListener('click', () => {
    chosen = 'think' in chosen ? { think: chosen.think } : {};
    keep();
    show();
    onChange();
  });
  use(OWN_FILES);
  const said = () => sampling({ ...profile.defaults, ...chosen });
  return { values, set, chooseContext, use, learn, sampling: said };
}
