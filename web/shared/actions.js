/**
 * What a person can do after each error.
 *
 * @import { TypedError } from '../engine/messages.js'
 *
 * @typedef {keyof typeof LABELS | 'shorter' | 'longer'} Name of an action
 * @typedef {Partial<Record<Name, Action|null>>} Actions
 * @typedef {(() => unknown) | {label: string, act: () => unknown}} Action some say what they
 *   would do here
 */

/**
 * The actions that fit each error; the first is the main one.
 *
 * @type {Record<string, Name[]>}
 */
const ACTIONS = {
  FileFormatError: ['list', 'choose', 'check'],
  UnsupportedFormatError: ['list', 'choose', 'check'],
  ChatFormatError: ['raw', 'list', 'choose'],
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
const LABELS = {
  choose: 'Choose another file',
  list: 'Back to the list',
  reload: 'Reload model',
  retry: 'Try again',
  again: 'Download again',
  f32: 'Reload with f32 keys and values',
  newChat: 'New chat',
  raw: 'Continue as plain text',
  leaveOut: 'Leave out the oldest turns',
  shorten: 'Shorten the message',
  settings: 'Open settings',
  check: 'Check the file',
  dismiss: 'Dismiss',
  restore: 'Back to the model before',
};
/** Errors after which a setting helps only where a shorter context is known to fit. */
const TOO_LARGE = new Set(['DeviceLimitError', 'DeviceMemoryError']);
/**
 * The actions that fit an error and can be taken, each with its label.
 *
 * @param {TypedError} error
 * @param {Actions} actions
 * @returns {[Name, {label: string, act: () => unknown}][]}
 */
export function offered(error, actions) {
  /** @type {Name[]} */
  const names = [...ACTIONS[error.type] ?? ['reload'], 'restore', 'dismiss'];
  return names.flatMap((name) => {
    const action = actions[name];
    if (!action || (name === 'settings' && !canShorten(error))) return [];
    const label = name in LABELS ? LABELS[/** @type {keyof typeof LABELS} */ (name)] : '';
    return [[name, typeof action === 'function' ? { label, act: action } : action]];
  });
}

/** @param {TypedError} error */
const canShorten = ({ type, n_ctx }) => !TOO_LARGE.has(type) || Boolean(n_ctx);
