/**
 * How a reply went: a line of figures under it, and behind that line the details.
 *
 * A message of an engine that ended early tells less than another: what is not known is
 * left out.
 *
 * @import { GenerateDone, StoppedDone } from '../engine/messages.js'
 *
 * @typedef {ReturnType<typeof startClock>} Clock
 */

import { button, element, fact } from '../shared/dom.js';
import { bytes, count, duration, rate, share } from '../shared/format.js';

/** How a reply ended. */
export const ENDS = {
  stop: 'Complete',
  stopped: 'Stopped',
  length: 'Cut off at the longest reply (see Settings)',
  context: 'The context is full',
  failed: 'Cut off',
};

/** Time a reply from the moment it is asked for. */
export function startClock() {
  const start = performance.now();
  let first = 0;
  let last = 0;
  let tokens = 0;
  /** @type {(from: number, to: number) => number} */
  const seconds = (from, to) => (to - from) / 1000;

  return {
    tokens: () => tokens,
    tick() {
      last = performance.now();
      first ||= last;
      tokens += 1;
    },
    sinceFirst: () => seconds(first, performance.now()),
    /** Seconds until the first token was here, which prefill gives; 0 when none was. */
    wait: () => (first ? seconds(start, first) : 0),
    /** Seconds from there to the last. */
    span: () => seconds(first, last),
  };
}

/**
 * Write how fast a reply is while it grows; nothing as long as that says nothing.
 *
 * @param {Clock} clock
 */
export function liveFigures(clock) {
  const span = clock.span();
  return clock.tokens() > 2 && span > 0.2 ? rate((clock.tokens() - 1) / span) : '';
}

/**
 * Make the figures of a reply that is over: a line, and the details where there are any.
 *
 * @param {GenerateDone|StoppedDone|null} done null when the engine failed
 * @param {Clock} clock
 * @returns {HTMLElement[]}
 */
export function replyFigures(done, clock) {
  const told = done && 'ids' in done ? done : null;
  const line = element('span', 'figures', summary(told, clock));
  const rows = told ? detailRows(told, clock) : [];
  if (!line.textContent || rows.length === 0) return [line];
  const list = element('dl', 'facts details');
  list.append(...rows);
  return [disclosure(line, list), list];
}

/**
 * The engine's own figures where it gives them.
 *
 * @param {GenerateDone|null} done
 * @param {Clock} clock
 */
function summary(done, clock) {
  const n = done?.n_generated ?? clock.tokens();
  if (!n) return '';
  const span = done?.decode_seconds || clock.span();
  const parts = n > 1 && span > 0 ? [rate((n - 1) / span)] : [];
  if (clock.wait()) parts.push(`first token ${duration(clock.wait())}`);
  parts.push(`${count(n)} token${n === 1 ? '' : 's'}`);
  return parts.join(' · ');
}

/**
 * @param {GenerateDone} done
 * @param {Clock} clock
 */
function detailRows(done, clock) {
  const { n_prompt, n_reused, n_generated, prefill_seconds, decode_seconds, predicted } = done;
  const { bytes_per_second, weight_bytes, kv_bytes_read, n_dispatches } = done;
  if (!n_prompt) return [];
  const measured = n_generated > 1 && decode_seconds > 0 && (n_generated - 1) / decode_seconds;
  /** @type {[string, string|number|false|undefined][]} */
  const known = [
    ['Prompt', `${count(n_prompt)} tokens${n_reused ? `, ${count(n_reused)} of them still in the cache` : ''}`],
    ['Prefill', prefill_seconds > 0 && rate((n_prompt - (n_reused ?? 0)) / prefill_seconds)],
    ['First token', clock.wait() && `after ${duration(clock.wait())}`],
    ['Decode', measured && rate(measured)],
    ['Predicted', measured && predicted
      && `at most ${rate(predicted)}; ${share(measured, predicted)} of it reached`],
    ['Memory read', bytes_per_second && `${bytes(bytes_per_second)}/s`],
    ['A token reads', weight_bytes && kv_bytes_read
      && `${bytes(weight_bytes)} of weights, ${bytes(kv_bytes_read)} of keys and values`],
    ['Dispatches', n_dispatches && `${count(n_dispatches)} per token`],
    ['End', ENDS[done.reason]],
  ];
  return known.flatMap(([name, value]) => (value ? [fact(name, String(value))] : []));
}

/**
 * A line that shows and hides what follows it.
 *
 * @param {HTMLElement} line
 * @param {HTMLElement} content
 */
function disclosure(line, content) {
  const toggle = button('', 'disclosure', () => show(Boolean(content.hidden)));
  toggle.append(line, element('span', 'visually-hidden', 'Details'));
  /** @param {boolean} open */
  const show = (open) => {
    toggle.setAttribute('aria-expanded', String(open));
    content.hidden = !open;
  };
  show(false);
  return toggle;
}
