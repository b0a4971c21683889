/**
 * The model: loading one in place of another, and what is left when that fails.
 *
 * The engine keeps the model before until the new one is complete, if there is room for
 * both. Where there is not, it says so, and a load that is cancelled brings the model
 * before back.
 *
 * @typedef {import('./files.js').Source} Source
 * @typedef {import('../engine/worker.js').TypedError} TypedError
 *
 * @typedef {object} Events
 * @property {() => void} change what is said below may be different now
 * @property {(source: Source) => void} begin a load has begun
 * @property {(source: Source, message: object) => void} progress
 * @property {(name: string) => void} closed the model before was closed to make room
 * @property {(source: Source, before: Source|null) => void} loaded
 * @property {(source: Source, error: TypedError, actions: object) => void} failed
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
 * @param {ReturnType<import('../engine/client.js').createEngine>} parts.engine
 * @param {ReturnType<import('../settings/settings.js').createSettings>} parts.settings
 * @param {Events} parts.on
 */
export function createModel({ engine, settings, on }) {
  /** @type {Source|null} the model last loaded, so that it can be loaded again */
  let source = null;
  /** What the engine said of the model it holds; null when it holds none. */
  let info = null;
  /** Its settings, with what the file itself recommends. */
  let profile = OWN_FILES;
  /** Whether that model was closed to make room for one that is not loaded yet. */
  let closed = false;
  /** The context setting that the model was loaded with. */
  let context = null;
  /** @type {{source: Source, id: number}|null} the load under way */
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
    on.closed(info?.name || source.name);
    info = null;
  }

  function finish(mine, outcome, n_ctx) {
    const isCurrent = mine === loading;
    const before = source;
    if (isCurrent) loading = null;
    // A load that came to its end before it could be taken back counts as well.
    if (outcome.info) keep(mine.source, outcome, n_ctx);
    if (!isCurrent) return;
    if (outcome.kind === 'error') fail(mine.source, outcome);
    else if (outcome.info) on.loaded(source, before);
    else restore(mine.source);
  }

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

  /** A load that failed: what the engine still holds can be used on. */
  function fail(failed, error) {
    if (error.fatal) engine.restart();
    if (!error.kept) info = null;
    useSettings();
    const before = closed && source !== failed ? { restore: () => load(source) } : {};
    on.change();
    on.failed(failed, error, before);
  }

  /** A load that was cancelled: bring back what was closed for it. */
  function restore(cancelled) {
    const canRestore = closed && source !== cancelled;
    closed = false;
    if (canRestore) {
      load(source);
    } else {
      useSettings();
      on.change();
    }
    on.cancelled(canRestore ? 'closed' : info ? 'kept' : 'none');
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
 * @returns {import('../engine/worker.js').LoadOptions}
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
