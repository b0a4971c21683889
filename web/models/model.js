/**
 * The model: loading one in place of another, and what is left when that fails.
 *
 * The engine keeps the model before until the new one is complete, if there is room for
 * both. Where there is not, it says so, and a load that is cancelled brings the model
 * before back.
 *
 * @import { Engine } from '../engine/client.js'
 * @import {
 *   Info, LoadDone, LoadOptions, ProgressMessage, StoppedDone, TypedError,
 * } from '../engine/messages.js'
 * @import { Profile, Settings } from '../settings/settings.js'
 * @import { Actions } from '../shared/actions.js'
 * @import { Source } from './files.js'
 *
 * @typedef {ReturnType<typeof createModel>} Model
 * @typedef {{source: Source, id: number}} Load one under way
 *
 * @typedef {object} Events
 * @property {() => void} change what is said below may be different now
 * @property {(source: Source) => void} begin a load has begun
 * @property {(source: Source, message: ProgressMessage) => void} progress
 * @property {(name: string) => void} closed the model before was closed to make room
 * @property {(source: Source, before: Source|null) => void} loaded
 * @property {(source: Source, error: TypedError, actions: Actions) => void} failed
 * @property {(left: 'kept'|'closed'|'none') => void} cancelled and the model before is
 *   still there, is loaded again, or there is none
 */

import { OWN_FILES } from '../settings/settings.js';
import { chosen, devices, keepChosen } from './speed.js';
import { finePointer } from '../shared/view.js';

/** What the address of the page asks for, as in `?kernels=subgroup,f16-kv`. */
const KERNELS = new URLSearchParams(window.location.search).get('kernels');

/**
 * Keep the model.
 *
 * @param {object} parts
 * @param {Engine} parts.engine
 * @param {Settings} parts.settings
 * @param {Events} parts.on
 */
export function createModel({ engine, settings, on }) {
  /** @type {Source|null} the model last loaded, so that it can be loaded again */
  let source = null;
  /** @type {Info|null} what the engine said of the model it holds, if it holds one */
  let info = null;
  /** @type {Profile} its settings, with what the file itself recommends */
  let profile = OWN_FILES;
  /** Whether that model was closed to make room for one that is not loaded yet. */
  let closed = false;
  /** @type {number|null} the context setting that the model was loaded with */
  let context = null;
  /** @type {Load|null} the load under way */
  let loading = null;

  /**
   * @param {Source} wanted
   * @returns {Promise<void>} settled when the load is over, whatever came of it
   */
  function load(wanted) {
    if (loading) engine.stop(loading.id); // what it still says of itself is not heard
    settings.use(wanted.profile);
    const { n_ctx } = settings.values;
    const mine = { source: wanted, id: 0 };
    /** @param {ProgressMessage} message */
    const onProgress = (message) => {
      if (message.stage === 'room') makeRoom();
      else if (mine === loading) on.progress(wanted, message);
    };
    const { id, result } = engine.load(wanted, loadOptions(wanted, n_ctx), { onProgress });
    mine.id = id;
    loading = mine;
    on.begin(wanted);
    return result.catch((error) => error).then((outcome) => finish(mine, outcome, n_ctx));
  }

  function makeRoom() {
    closed = true;
    on.closed(info?.name || source?.name || '');
    info = null;
  }

  /**
   * @param {Load} mine
   * @param {LoadDone|StoppedDone|TypedError} outcome
   * @param {number|null} n_ctx
   */
  function finish(mine, outcome, n_ctx) {
    const isCurrent = mine === loading;
    const before = source;
    if (isCurrent) loading = null;
    // A load that came to its end before it could be taken back counts as well.
    if ('info' in outcome) keep(mine.source, outcome, n_ctx);
    if (!isCurrent) return;
    if (outcome.kind === 'error') fail(mine.source, outcome);
    else if ('info' in outcome) on.loaded(mine.source, before);
    else restore(mine.source);
  }

  /**
   * @param {Source} loaded
   * @param {LoadDone} outcome
   * @param {number|null} n_ctx
   */
  function keep(loaded, outcome, n_ctx) {
    source = loaded;
    ({ info } = outcome);
    const defaults = { ...outcome.sampling, ...loaded.profile.defaults };
    profile = { ...loaded.profile, defaults };
    keepChosen(outcome);
    context = n_ctx;
    closed = false;
    if (!loading) useSettings();
    on.change();
  }

  /**
   * A load that failed: what the engine still holds can be used on.
   *
   * @param {Source} failed
   * @param {TypedError} error
   */
  function fail(failed, error) {
    if (error.fatal) engine.restart();
    if (!error.kept) info = null;
    useSettings();
    const lost = closed && source !== failed ? source : null;
    const before = lost ? { restore: () => load(lost) } : {};
    on.change();
    on.failed(failed, error, before);
  }

  /**
   * A load that was cancelled: bring back what was closed for it.
   *
   * @param {Source} cancelled
   */
  function restore(cancelled) {
    const lost = closed && source !== cancelled ? source : null;
    closed = false;
    if (lost) {
      load(lost);
    } else {
      useSettings();
      on.change();
    }
    on.cancelled(lost ? 'closed' : info ? 'kept' : 'none');
  }

  /** Take the settings of the model that is loaded in place of another's. */
  function useSettings() {
    settings.use(info ? profile : OWN_FILES);
  }

  /** End the load under way; how that ends is told by `cancelled`. */
  function cancel() {
    if (loading) engine.stop(loading.id);
  }

  /** The engine holds no model any more. */
  function forget() {
    info = null;
  }

  return {
    load,
    cancel,
    forget,
    useSettings,
    get source() { return source; },
    get info() { return info; },
    get context() { return context; },
    get loading() { return loading; },
  };
}

/**
 * Say how a model is to be loaded.
 *
 * @param {Source} source
 * @param {number|null} n_ctx the context that a person set
 * @returns {LoadOptions}
 */
export function loadOptions({ profile, large, template, kv }, n_ctx) {
  return {
    ...(kv ? { kv } : {}),
    ...(n_ctx ? { n_ctx } : {}),
    ...(profile.context ? { default_ctx: profile.context } : {}),
    ...(large === true || large === false ? { large } : {}),
    ...(template ? { template } : {}),
    // A phone's browser ends a page that takes too much memory, instead of refusing it.
    keep: finePointer.matches,
    measured: devices(),
    ...(KERNELS ? { kernels: KERNELS } : { chosen: chosen() }),
  };
}
