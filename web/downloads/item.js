/**
 * A downloaded model in the list: what is here of it, and what can be done with it.
 *
 * @import { Fault, ModelRecord } from './store.js'
 *
 * @typedef {keyof typeof LABELS} Action
 * @typedef {'downloading'|'verifying'} Doing what is being done with a model
 * @typedef {Doing|'complete'|'partial'|'damaged'} State
 */

import { button, element } from '../shared/dom.js';
import { bytes } from '../shared/format.js';
import { createProgress } from '../models/files.js';
import { doneBytes, stateOf, totalBytes } from './store.js';

/**
 * What can be done in each state, the likeliest first.
 *
 * @type {Record<State, Action[]>}
 */
const ACTIONS = {
  downloading: ['pause', 'remove'],
  verifying: ['stop'],
  complete: ['load', 'verify', 'remove'],
  partial: ['resume', 'remove'],
  damaged: ['again', 'remove'],
};
const LABELS = {
  load: 'Load',
  resume: 'Resume',
  again: 'Download again',
  pause: 'Pause',
  stop: 'Stop',
  verify: 'Verify',
  remove: 'Delete',
};
const LOOK = 'secondary small';

/**
 * Make a model's line.
 *
 * @param {string} name
 * @param {Record<Action, () => void>} actions what each button does, by name
 */
export function createItem(name, actions) {
  const node = element('li', 'download');
  const head = element('p', 'download-head');
  const status = element('span', 'figures');
  head.append(element('span', 'model-title', name), status);
  const bar = element('progress');
  bar.max = 1;
  bar.setAttribute('aria-label', name);
  const detail = element('p', 'loading-figures');
  const [stage, figures] = [element('span'), element('span', 'figures')];
  detail.append(stage, figures);
  const note = element('p', 'help');
  const row = element('p', 'download-actions');
  /** @param {Action} key */
  const make = (key) => {
    const act = actions[key];
    const made = key === 'remove' ? confirmed(act) : button(LABELS[key], LOOK, act);
    made.append(element('span', 'visually-hidden', ` ${name}`));
    return made;
  };
  const names = /** @type {Action[]} */ (Object.keys(LABELS));
  const buttons = new Map(names.map((key) => [key, make(key)]));
  row.append(...buttons.values());
  node.append(head, bar, detail, note, row);
  const progress = createProgress({ bar, stage, figures });
  let said = '';

  /**
   * @param {ModelRecord|null} record null while there is only what is being done
   * @param {{kind: Doing}|null} run what is being done with it
   */
  function show(record, run) {
    const state = run?.kind ?? (record ? stateOf(record) : 'partial');
    const hadFocus = node.contains(document.activeElement);
    if (state !== node.dataset.state) said = '';
    node.dataset.state = state;
    bar.hidden = detail.hidden = !run;
    status.textContent = run || !record ? '' : describe(record, state);
    note.textContent = record?.fault && !run ? faultText(record.fault) : said;
    note.hidden = !note.textContent;
    const wanted = ACTIONS[state];
    for (const key of wanted) buttons.get(key)?.removeAttribute('hidden');
    // Before the others go: what is hidden takes the focus along.
    const keepsFocus = wanted.some((key) => buttons.get(key) === document.activeElement);
    if (hadFocus && !keepsFocus) buttons.get(wanted[0])?.focus();
    for (const [key, each] of buttons) each.hidden = !wanted.includes(key);
  }

  /**
   * Tell how something with it has ended; it stands until something else begins.
   *
   * @param {string} text
   */
  function say(text) {
    said = text;
    note.textContent = text;
    note.hidden = false;
  }

  return { node, show, say, progress: progress.show };
}

/**
 * Ask once more, in the button itself: what took an hour to fetch is gone at once.
 *
 * @param {() => void} action
 */
function confirmed(action) {
  const node = button(LABELS.remove, LOOK, () => {
    const sure = node.classList.contains('alarm');
    ask(!sure);
    // Safari does not focus a button that is clicked, and so would not blur it.
    if (!sure) return node.focus();
    return action();
  });
  const [label] = node.childNodes;
  /** @param {boolean} asking */
  const ask = (asking) => {
    node.classList.toggle('alarm', asking);
    label.textContent = asking ? 'Really delete?' : LABELS.remove;
  };
  node.addEventListener('blur', () => ask(false));
  return node;
}

/**
 * @param {ModelRecord} record
 * @param {State} state
 */
function describe(record, state) {
  const total = totalBytes(record);
  if (state === 'partial') {
    const done = bytes(doneBytes(record));
    return `partly downloaded · ${total ? `${done} of ${bytes(total)}` : done}`;
  }
  const parts = record.parts.length > 1 ? ` in ${record.parts.length} parts` : '';
  if (state === 'damaged') return `damaged · ${bytes(total)}${parts}`;
  return `${bytes(total)}${parts} · used ${day(record.used)}`;
}

/** @param {number} time */
function day(time) {
  return new Date(time).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });
}

/** @param {Fault} fault */
function faultText({ kind, name, found, expected }) {
  const how = kind === 'wrong' ? 'arrived with' : 'now has';
  return `${name} ${how} the SHA-256 ${found}; ${expected} was expected. It is not loaded.`;
}

