/**
 * The models of the first screen: which the page opens with, and what can be asked of it.
 *
 * @import { Engine } from '../engine/client.js'
 * @import { Settings } from '../settings/settings.js'
 * @import { Demo } from './demo.js'
 * @import { Source } from './files.js'
 * @import { Model } from './model.js'
 * @import { Pulled } from './pulled.js'
 */

import { finePointer, prompt } from '../shared/view.js';
import { createDemo, EXAMPLES, showExamples } from './demo.js';
import { loadOptions } from './model.js';
import { createPulled, EXAMPLES as REAL_EXAMPLES } from './pulled.js';
import { devices, keepDevice } from './speed.js';

/**
 * Offer the small model that came with the page, and the real ones of this machine.
 *
 * @param {object} parts
 * @param {Engine} parts.engine
 * @param {Model} parts.model
 * @param {Settings} parts.settings
 * @param {object} parts.on
 * @param {() => void} parts.on.change
 * @param {() => boolean} parts.on.isFree whether no model is there, nor being chosen or loaded
 * @param {() => boolean} parts.on.isReady whether one waits for a message
 * @param {(turns: string[]) => void} parts.on.example
 */
export function createGreeting({ engine, model, settings, on }) {
  const demo = createDemo(() => { if (small) model.load(small); });
  const pulled = createPulled(model.load);
  /** @type {Demo|null} the demonstration model, where the bundle holds one */
  let small = null;
  /** @type {Source|null} the model that the page opens with */
  let greeter = null;
  /** @type {Source|null} the model of the first screen whose examples are shown */
  let asked = null;

  /**
   * Whether a model is one of those on the first screen.
   *
   * @param {Source|null} source
   */
  function holds(source) {
    return source !== null && (source === small || pulled.holds(source));
  }

  /** @param {Source|null} source */
  function statusOf(source) {
    if (source && model.loading?.source === source) return 'loading';
    return source && model.info && model.source === source ? 'ready' : '';
  }

  function show() {
    const { info, source } = model;
    demo.show(statusOf(small), info && source === small ? info.name || small?.name || '' : '');
    pulled.show(statusOf);
    offerExamples();
  }

  /** Show what can be asked of the model of the first screen that is loaded, or loading. */
  function offerExamples() {
    const now = model.loading?.source ?? model.source;
    if (!now || now === asked || !holds(now)) return;
    asked = now;
    showExamples(pulled.holds(now) ? REAL_EXAMPLES : EXAMPLES, on.example);
  }

  /**
   * Load a model at once, unless a person was quicker: a real one, or on an adapter in
   * software the small one. How fast the real one would be there is then told.
   *
   * @param {Demo|null} found
   * @param {Pulled[]} lines
   */
  async function greet(found, lines) {
    small = found;
    if (found) demo.offer(found);
    pulled.offer(lines);
    const real = pulled.first();
    on.change();
    const isSoftware = real !== null && found !== null && await isInSoftware();
    greeter = real && !isSoftware ? real : found;
    if (!greeter || !on.isFree()) return;
    const isLoaded = model.load(greeter);
    if (finePointer.matches && document.activeElement === document.body) prompt.focus();
    await isLoaded;
    if (isSoftware && on.isReady()) predict(real);
  }

  async function isInSoftware() {
    const done = await engine.adapter({ measured: devices() }).result.catch(() => null);
    return done && 'adapter' in done ? done.adapter.is_software : true;
  }

  /**
   * Tell how fast a model of the first screen would be, from its header alone.
   *
   * @param {Source} source
   */
  async function predict(source) {
    const options = loadOptions(source, settings.values.n_ctx);
    const done = await engine.preflight(source, options, { isQuiet: true }).result
      .catch(() => null);
    const found = done && 'preflight' in done ? done.preflight : null;
    if (!found?.prediction) return;
    keepDevice(found);
    pulled.showSpeed(source, found.prediction.tokens_per_second);
  }

  return { greet, holds, show, showAbout: demo.showAbout, greeter: () => greeter };
}
