/**
 * Before a load: what a model takes on this machine, and how fast it may be. A small
 * model loads at once; a large one when its needs are known and a person says so.
 *
 * @import { Engine } from '../engine/client.js'
 * @import { Fit, LoadOptions, Prediction, Preflight, TypedError } from '../engine/messages.js'
 * @import { Settings } from '../settings/settings.js'
 * @import { Source } from './files.js'
 *
 * @typedef {{source: Source, id: number, preflight: Preflight|null}} Check of a model; its
 *   `preflight` once it is known
 *
 * @typedef {ReturnType<typeof createPreflight>} Panel
 *
 * @typedef {object} Events
 * @property {(source: Source) => void} begin a check begins
 * @property {() => void} change whether one is shown may be different now
 * @property {() => boolean} isReplying whether a load would end a reply
 * @property {(source: Source) => void} load the model is to be loaded
 * @property {(source: Source, error: TypedError) => void} failed
 * @property {() => void} cancelled
 */

import { element, fact, find } from '../shared/dom.js';
import { bytes, count, duration, rate } from '../shared/format.js';
import { createProgress, describe } from './files.js';
import { keepDevice } from './speed.js';

const LARGE = 1e9; // bytes of a model that is not loaded unasked

/**
 * Offer to look before a load.
 *
 * @param {object} parts
 * @param {Engine} parts.engine
 * @param {Settings} parts.settings
 * @param {(source: Source) => LoadOptions} parts.options
 * @param {Events} parts.on
 */
export function createPreflight({ engine, settings, options, on }) {
  const context = find('fit-context', HTMLSelectElement);
  const field = find('fit-field');
  const progress = createProgress({
    bar: find('fit-bar', HTMLProgressElement), stage: find('fit-stage'), figures: find('fit-bytes'),
  });
  /** @type {Check|null} */
  let current = null;

  /**
   * Load a model that a person chose, or say first what it takes. A reply is not ended for
   * one that cannot be loaded.
   *
   * @param {Source} source
   */
  function open(source) {
    drop();
    if (isSmall(source) && !on.isReplying()) on.load(source);
    else check(source);
  }

  /** @param {Source} source */
  const isSmall = (source) => source.size < LARGE;

  /** @param {Source} source */
  async function check(source) {
    drop();
    on.begin(source);
    settings.use(source.profile);
    /** @type {Check} */
    const mine = { source, id: 0, preflight: null };
    current = mine;
    progress.start();
    show();
    const { id, result } = engine.preflight(source, options(source), { onProgress: progress.show });
    mine.id = id;
    on.change();
    find('fit-title').focus();
    const outcome = await result.catch((error) => error);
    if (mine !== current) return;
    const preflight = 'preflight' in outcome ? outcome.preflight : null;
    if (preflight && isSmall(source)) return on.load(source);
    mine.preflight = preflight;
    if (!preflight) current = null;
    show();
    on.change();
    if (preflight) offer(source, preflight);
    else if (outcome.kind === 'error') on.failed(source, outcome);
  }

  function show() {
    const preflight = current?.preflight;
    find('fit-file').textContent = current ? describe(current.source) : '';
    find('fit-progress').hidden = Boolean(preflight);
    find('fit-offer').hidden = !preflight;
    find('fit-card').replaceChildren(...preflight ? [fitCard(preflight)] : []);
    // There is one context to choose at a time: here, or in the settings.
    if (preflight) find('fit-offer').append(field);
    else field.remove();
  }

  /**
   * @param {Source} source
   * @param {Preflight} preflight
   */
  function offer(source, preflight) {
    keepDevice(preflight);
    /** @param {HTMLOptionElement} option */
    const shorter = (option) => Number(option.value) <= preflight.n_ctx_train;
    const all = [...find('n_ctx', HTMLSelectElement).options].filter(shorter);
    context.replaceChildren(...all.map((option) => option.cloneNode(true)));
    const isAutomatic = settings.values.n_ctx === null;
    if (isAutomatic) context.options[0].text = `Automatic: ${count(preflight.fit.n_ctx)}`;
    context.value = String(settings.values.n_ctx ?? '');
    context.disabled = source.profile.fixedContext;
    find('fit-load').focus();
  }

  function drop() {
    if (current && !current.preflight) engine.stop(current.id);
    current = null;
    show();
  }

  find('fit-load').addEventListener('click', () => {
    const source = current?.source;
    drop();
    if (source) on.load(source);
  });
  find('fit-cancel').addEventListener('click', () => {
    drop();
    on.change();
    on.cancelled();
  });
  context.addEventListener('change', () => {
    settings.chooseContext(context.value ? Number(context.value) : null);
    if (current) check(current.source);
  });

  show();
  return { open, drop, isOpen: () => current !== null };
}

/**
 * Make the card that says what a model takes.
 *
 * @param {{fit: Fit, prediction?: Prediction}} report
 */
export function fitCard({ fit, prediction }) {
  const card = element('div', 'card fit');
  const list = element('dl', 'facts');
  list.append(...rows(fit, prediction).map((row) => fact(...row)));
  card.append(
    element('h2', 'card-title', `${bytes(fit.total_bytes)} of memory`),
    element('p', 'detail', fit.verdict),
    list,
  );
  return card;
}

/**
 * @param {Fit} fit
 * @param {Prediction|undefined} prediction
 */
function rows(fit, prediction) {
  const left = fit.host_bytes ? `and ${bytes(fit.host_bytes)} that stay in the file` : '';
  /** @type {[string, string, string?][]} */
  const found = [
    ['Weights', bytes(fit.weight_bytes), left || 'all on the graphics processor'],
    ['KV cache', bytes(fit.kv_bytes), `for ${count(fit.n_ctx)} tokens`],
    ['Scratch', bytes(fit.scratch_bytes + fit.table_bytes)],
  ];
  if (!prediction) return found;
  found.push(['Speed', `at most ${rate(prediction.tokens_per_second)}`]);
  if (prediction.load_seconds) found.push(['Loading', `about ${duration(prediction.load_seconds)}`]);
  return found;
}
