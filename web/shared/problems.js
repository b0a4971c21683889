/**
 * Errors as cards: what happened, what was found and expected, and what to do.
 */

import { button, element, fact } from './dom.js';
import { bytes } from './format.js';
import { focusPrompt } from './view.js';

/** @import { TypedError } from '../engine/messages.js' */

/**
 * What a person can do after each error; the first action is the main one.
 *
 * @type {Record<string, Name[]>}
 */
const ACTIONS = {
  FileFormatError: ['list', 'choose', 'check'],
  UnsupportedFormatError: ['list', 'choose', 'check'],
  UnsupportedArchitectureError: ['list', 'choose'],
  ShapeError: ['list', 'choose', 'check'],
  NumberError: ['check', 'f32', 'list', 'choose', 'newChat'],
  SourceError: ['list', 'choose', 'reload'],
  DownloadError: ['retry'],
  IntegrityError: ['again'],
  StorageError: ['retry', 'list', 'choose'],
  RequestError: ['retry', 'settings', 'reload'],
  ContextFullError: ['leaveOut', 'shorten', 'longer', 'newChat'],
  DeviceMissingError: ['reload'],
  DeviceLimitError: ['shorter', 'list', 'choose', 'settings'],
  DeviceMemoryError: ['shorter', 'reload', 'settings'],
  DeviceLostError: ['reload'],
  DeviceError: ['reload'],
  ShaderCompileError: ['reload'],
  InternalError: ['retry', 'newChat', 'reload'],
  RuntimeError: ['reload'],
};
/** What every GGUF file begins with. */
const MAGIC = 'GGUF';

const LABELS = {
  choose: 'Choose another file',
  list: 'Back to the list',
  reload: 'Reload model',
  retry: 'Try again',
  again: 'Download again',
  f32: 'Reload with f32 keys and values',
  newChat: 'New chat',
  leaveOut: 'Leave out the oldest turns',
  shorten: 'Shorten the message',
  settings: 'Open settings',
  check: 'Check the file',
  dismiss: 'Dismiss',
  restore: 'Back to the model before',
};
/** Errors after which a setting helps only where a shorter context is known to fit. */
const TOO_LARGE = new Set(['DeviceLimitError', 'DeviceMemoryError']);
/** What a person may come back from with nothing done: the card stands until then. */
const STAYS = new Set(['check', 'choose', 'settings', 'shorten']);

/**
 * Make an error card.
 *
 * @param {TypedError} error
 * @param {Actions} actions what can be done now, by name; the card offers
 *   those that fit the error
 *
 * @typedef {keyof typeof LABELS | 'shorter' | 'longer'} Name of an action
 * @typedef {Partial<Record<Name, Action|null>>} Actions
 * @typedef {(() => unknown) | {label: string, act: () => unknown}} Action some say what they
 *   would do here
 */
export function errorCard(error, actions) {
  const card = element('div', 'card problem');
  card.setAttribute('role', 'alert');
  card.dataset.type = error.type;
  card.append(element('h2', 'card-title', title(error.what)), details(error));
  if (error.remedy) card.append(element('p', 'remedy', error.remedy));
  const row = element('div', 'card-actions');
  offered(error, actions).forEach(([name, { label, act }], i) => {
    const isMain = i === 0 && name !== 'dismiss';
    row.append(button(label, isMain ? 'primary small' : 'secondary small', () => {
      if (!STAYS.has(name)) card.remove();
      act();
      if (document.activeElement === document.body) focusPrompt();
    }));
  });
  card.append(row, element('p', 'card-type', error.type));
  return card;
}

/**
 * The actions that fit an error and can be taken, each with its label.
 *
 * @param {TypedError} error
 * @param {Actions} actions
 * @returns {[Name, {label: string, act: () => unknown}][]}
 */
function offered(error, actions) {
  /** @type {Name[]} */
  const names = [...ACTIONS[error.type] ?? ['reload'], 'restore', 'dismiss'];
  return names.flatMap((name) => {
    const action = actions[name];
    if (!action || (name === 'settings' && !canShorten(error))) return [];
    const label = name in LABELS ? LABELS[/** @type {keyof typeof LABELS} */ (name)] : '';
    return [[name, typeof action === 'function' ? { label, act: action } : action]];
  });
}

/**
 * What an error says within a sentence, as a title; a name that it begins with stays.
 *
 * @param {string} what
 */
const title = (what) => what.replace(/^[a-z]+(?=[ ,’]|$)/, (word) =>
  word[0].toUpperCase() + word.slice(1));

/** @param {TypedError} error */
const canShorten = ({ type, n_ctx }) => !TOO_LARGE.has(type) || Boolean(n_ctx);

/** @param {TypedError} error */
function details(error) {
  const list = element('dl', 'facts');
  for (const [name, value] of [['Found', error.found], ['Expected', error.expected]]) {
    if (value) list.append(fact(name, value));
  }
  return list;
}

/**
 * Find out whether this browser offers WebGPU here.
 *
 * @returns {Promise<Missing|null>} null when it does
 *
 * @typedef {{title: string, text: string, steps: [string, string][]}} Missing why there is
 *   none, and how to get it
 */
export async function missingWebGPU() {
  if (!self.isSecureContext) {
    return {
      title: 'This address is not secure',
      text: 'Browsers offer WebGPU only over https, and on localhost.',
      steps: [['Here', 'Open this page over https, or as http://localhost.']],
    };
  }
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (adapter) return null;
  return {
    title: navigator.gpu ? 'No graphics adapter' : 'This browser has no WebGPU',
    text: navigator.gpu ? NO_ADAPTER : NO_WEBGPU,
    steps: BROWSERS,
  };
}

const NO_WEBGPU = 'Lapidary computes with WebGPU. These browsers have it:';
const NO_ADAPTER = 'WebGPU is here, but it offers no graphics adapter: the driver may be '
  + 'blocked, or hardware acceleration switched off. If there was one before, the GPU has '
  + 'failed too often: restart the browser.';
/** @type {[string, string][]} */
const BROWSERS = [
  ['Chrome, Edge', '113 or newer on Windows, macOS, Android. On Linux: chrome://flags, '
    + '“Vulkan” and “Unsafe WebGPU Support”. Hardware acceleration must be on '
    + '(chrome://settings/system).'],
  ['Safari', '26 or newer on macOS, iOS, iPadOS.'],
  ['Firefox', '141 or newer on Windows, 145 or newer on macOS. Elsewhere: about:config, '
    + 'dom.webgpu.enabled and dom.webgpu.workers.enabled.'],
];

/**
 * Make the card that says how to get WebGPU.
 *
 * @param {Missing} missing
 */
export function capabilityCard(missing) {
  const card = element('div', 'card problem');
  card.setAttribute('role', 'alert');
  card.dataset.type = 'DeviceMissingError';
  card.append(element('h2', 'card-title', missing.title), element('p', '', missing.text));
  const list = element('dl', 'facts');
  list.append(...missing.steps.map(([name, text]) => fact(name, text)));
  card.append(list);
  return card;
}

/**
 * Check what can be checked without reading: nothing chosen, empty files.
 *
 * @param {File[]} files
 * @returns {TypedError|null}
 */
export function checkFiles(files) {
  const empty = files.find((file) => file.size === 0);
  if (!empty) return null;
  return {
    kind: 'error',
    type: 'FileFormatError',
    what: `${empty.name} is empty`,
    found: bytes(0),
    expected: 'a GGUF file',
    remedy: 'If it is a folder, open it and choose the file inside.',
  };
}

/**
 * Check whether files begin as a GGUF does. The engine tells more of one that does not;
 * this is for when it is in the middle of a reply.
 *
 * @param {File[]} files
 */
export async function checkBeginnings(files) {
  const problems = await Promise.all(files.map(checkBeginning));
  return problems.find(Boolean) ?? null;
}

/**
 * @param {File} file
 * @returns {Promise<TypedError|null>}
 */
async function checkBeginning(file) {
  const found = await file.slice(0, MAGIC.length).text().catch((error) => error);
  if (found === MAGIC) return null;
  const isRead = typeof found === 'string';
  return {
    kind: 'error',
    type: isRead ? 'UnsupportedFormatError' : 'SourceError',
    what: isRead ? `${file.name} is no model` : `${file.name} cannot be read`,
    found: isRead ? `a file that begins with ${JSON.stringify(found)}` : found.message,
    expected: `a GGUF file, which begins with ${JSON.stringify(MAGIC)}`,
    remedy: isRead
      ? 'Choose a model’s .gguf file. The conversation goes on as it was.'
      : 'If it is a folder, open it and choose the file inside.',
  };
}
