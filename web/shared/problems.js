/**
 * Errors as cards: what happened, what was found and expected, and what to do.
 */

/**
 * @import { TypedError } from '../engine/messages.js'
 * @import { Actions } from './actions.js'
 */

import { offered } from './actions.js';
import { button, element, fact } from './dom.js';
import { bytes } from './format.js';
import { focusPrompt } from './view.js';

/** What every GGUF file begins with. */
const MAGIC = 'GGUF';

/** What a person may come back from with nothing done: the card stands until then. */
const STAYS = new Set(['check', 'choose', 'settings', 'shorten']);

/**
 * Make an error card.
 *
 * @param {TypedError} error
 * @param {Actions} actions what can be done now, by name; the card offers
 *   those that fit the error
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
 * What an error says within a sentence, as a title; a name that it begins with stays.
 *
 * @param {string} what
 */
const title = (what) => what.replace(/^[a-z]+(?=[ ,’]|$)/, (word) =>
  word[0].toUpperCase() + word.slice(1));

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
