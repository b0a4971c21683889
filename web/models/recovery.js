/**
 * What goes wrong with a model or a reply, and what a person can do then.
 *
 * @import { Engine } from '../engine/client.js'
 * @import { Info, TypedError } from '../engine/messages.js'
 * @import { Settings } from '../settings/settings.js'
 * @import { Actions } from '../shared/actions.js'
 * @import { Source } from './files.js'
 * @import { Model } from './model.js'
 * @import { Panel } from './preflight.js'
 */

import { longerContext } from '../chat/turns.js';
import { find } from '../shared/dom.js';
import { count } from '../shared/format.js';
import { errorCard } from '../shared/problems.js';

/**
 * Tell of errors, each with the ways out of it.
 *
 * @param {object} parts
 * @param {Engine} parts.engine
 * @param {Model} parts.model
 * @param {Settings} parts.settings
 * @param {Panel} parts.preflight
 * @param {(source: Source) => Promise<void>} parts.verify
 * @param {() => void} parts.newChat
 * @param {(source: Source) => void} parts.toList show it in the list that it came from
 * @param {object} parts.on
 * @param {() => void} parts.on.change
 * @param {(card: HTMLElement) => void} parts.on.told an error is shown
 */
export function createRecovery(parts) {
  const { engine, model, settings, preflight, verify, newChat, toList, on } = parts;

  /**
   * @param {TypedError} error
   * @param {Actions} actions what can be done besides
   */
  function show(error, actions = {}) {
    const card = errorCard(error, { ...anyTime(), dismiss: () => {}, ...actions });
    find('notices').replaceChildren(card);
    on.told(card);
  }

  /** @type {() => Actions} */
  const anyTime = () => ({
    choose: () => find('file').click(),
    settings: () => find('settings', HTMLDialogElement).showModal(),
  });

  /**
   * Follow what the engine says of the model that it held, and of itself.
   *
   * @param {TypedError} error
   */
  function letGo(error) {
    if (error.kept === false) model.forget();
    if (error.fatal) engine.restart();
  }

  /**
   * What can be done about a model: one of a list is not looked for among files.
   *
   * @param {Source} source
   * @returns {Actions}
   */
  const waysOf = (source) => ({
    reload: () => model.load(source),
    ...(source.listed ? { list: () => toList(source), choose: null } : {}),
    ...(source.checkable ? { check: () => verify(source) } : {}),
  });

  /**
   * @param {Source} source
   * @param {TypedError} error
   * @param {Actions} before
   */
  function failLoad(source, error, before) {
    show(error, {
      ...waysOf(source),
      ...(error.n_ctx ? { shorter: context(source, error.n_ctx, 'Use') } : {}),
      ...before,
    });
  }

  /**
   * A model that was refused before it was loaded: the one before is still there.
   *
   * @param {Source} source
   * @param {TypedError} error
   */
  function failCheck(source, error) {
    letGo(error);
    model.useSettings();
    on.change();
    failLoad(source, error, { reload: () => preflight.open(source) });
  }

  /**
   * Load a model with another context: one that fits, or in which more fits.
   *
   * @param {Source} source
   * @param {number} n_ctx
   * @param {string} verb
   */
  function context(source, n_ctx, verb) {
    const act = () => {
      settings.use(source.profile);
      settings.chooseContext(n_ctx);
      preflight.open(source);
    };
    return { label: `${verb} ${count(n_ctx)} tokens`, act };
  }

  /**
   * @param {Source} source
   * @param {Info} info
   * @param {TypedError} error
   * @returns {Actions}
   */
  function longer(source, info, error) {
    const n_ctx = source.profile.fixedContext ? 0 : longerContext(error, info);
    return n_ctx ? { longer: context(source, n_ctx, 'Reload with') } : {};
  }

  /**
   * Load a model with keys and values that overflow later.
   *
   * @param {Source} source
   * @param {Info} info
   * @returns {Actions}
   */
  function finer(source, info) {
    return info.kv === 'f16' ? { f32: () => model.load({ ...source, kv: 'f32' }) } : {};
  }

  /**
   * The engine died; whoever waits for it tells of that.
   *
   * @param {TypedError} error
   * @param {boolean} isTold
   */
  function lose(error, isTold) {
    model.forget();
    on.change();
    if (!isTold) show(error, actionsAfter(error));
  }

  /**
   * What an error in a reply leaves to be done; a fatal one takes the model along.
   *
   * @param {TypedError} error
   * @returns {Actions}
   */
  function actionsAfter(error) {
    letGo(error);
    on.change();
    const { source, info } = model;
    if (!source) return anyTime();
    const ways = { ...anyTime(), ...waysOf(source) };
    return info ? { ...ways, newChat, ...longer(source, info, error), ...finer(source, info) } : ways;
  }

  return { show, failLoad, failCheck, lose, actionsAfter };
}
