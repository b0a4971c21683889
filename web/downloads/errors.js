/**
 * What goes wrong with downloaded models, as the page shows it.
 *
 * @import { TypedError } from '../engine/messages.js'
 *
 * @typedef {TypedError & {discard?: boolean}} StoreError `discard` has what is there removed
 */

import { bytes } from '../shared/format.js';

/**
 * Not enough room: what the browser gives, what it takes, what can be done. `discard` has
 * what is there removed.
 *
 * @param {string} name
 * @param {number} granted
 * @param {number} needed
 * @returns {StoreError}
 */
export function fullError(name, granted, needed) {
  return {
    ...storeError(`There is no room for ${name}`, {}),
    found: `${bytes(granted)}: the browser gives this page no more`,
    expected: needed ? bytes(needed) : '',
    remedy: 'Nothing of it is left here. Delete a downloaded model, or free space on the '
      + 'disk. A file that is on your disk needs no room here: choose it, and it is read '
      + 'where it lies.',
    discard: true,
  };
}

const AGAIN = 'Download it again, or delete it.';

/**
 * A file that is not what it should be.
 *
 * @param {string} name
 * @param {string} found
 * @param {string} expected
 * @param {string} remedy
 * @returns {TypedError}
 */
export function integrityError(name, found, expected, remedy = AGAIN) {
  return {
    kind: 'error',
    type: 'IntegrityError',
    what: `${name} is not what it should be`,
    found,
    expected,
    remedy: `Nothing of it is loaded. ${remedy}`,
  };
}

/** A model that is listed and not there. */
export function goneError() {
  return storeError('The model is not stored here any more', {
    found: 'no record of it',
    remedy: 'Another tab may have deleted it: download it again.',
  });
}

/**
 * @param {Error & Partial<TypedError>} error
 * @returns {error is Error & TypedError}
 */
const isTyped = (error) => error.kind === 'error';

/**
 * What the browser's file system refused to do.
 *
 * @param {Error & Partial<TypedError>} error
 * @returns {TypedError}
 */
export function storageError(error) {
  if (isTyped(error)) return error;
  return storeError('The browser cannot store files for this page', {
    found: `${error.name}: ${error.message}`,
    remedy: 'A private window may forbid it. You can choose a file from your disk instead: '
      + 'nothing of it is copied.',
  });
}

/**
 * @param {string} what
 * @param {Partial<TypedError>} details
 * @returns {TypedError}
 */
function storeError(what, details) {
  return { kind: 'error', type: 'StorageError', found: '', expected: '', remedy: '', ...details, what };
}

/**
 * What cannot be removed or written now.
 *
 * @param {string} name
 * @returns {TypedError}
 */
export function inUse(name) {
  return storeError(`${name} is in use`, {
    found: 'a tab that has it loaded, or is at work on it',
    remedy: 'Load another model there, or close that tab.',
  });
}
