/**
 * How a reply went: a line of figures under it, and behind that line the details.
 *
 * A message of an engine that ended early tells less than another: what is not known is
 * left out.
 *
 * @import { GenerateDone, StoppedDone } from '../engine/messages.js'
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

/**
 * @typedef {object} Heard what is known of a reply while it grows
 * @property {number} tokens
 * @property {number} rate in tokens per second; 0 where it says nothing yet
 */

/**
 * Make the figures of a reply that is over: a line, and the details where there are any.
 *
 * @param {GenerateDone|StoppedDone|null} done null when the engine failed
 * @param {Heard} heard
 * @returns {HTMLElement[]}
 */
export function replyFigures(done, heard) {
  const told = done && 'ids' in done ? done : null;
  const line = element('span', 'figures', summary(told, heard));
  const rows = told ? detailRows(told) : [];
  if (!line.textContent || rows.length === 0) return [line];
  const list = element('dl', 'facts details');
  list.append(...rows);
  return [disclosure(line, list), list];
}

/**
 * The engine's own figures where it gives them.
 *
 * @param {GenerateDone|null} done
 * @param {Heard} heard
 */
function summary(done, heard) {
  const n = done?.n_generated ?? heard.tokens;
  if (!n) return '';
  const speed = done?.tokens_per_second ?? heard.rate;
  const parts = speed ? [rate(speed)] : [];
  if (done) parts.push(`first token ${duration(done.prefill_seconds)}`);
  parts.push(`${count(n)} token${n === 1 ? '' : 's'}`);
  return parts.join(' · ');
}

/** @param {GenerateDone} done */
function detailRows(done) {
  const { n_prompt, n_reused, prefill_tokens_per_second, tokens_per_second } = done;
  const { predicted, reached, bytes_per_second, weight_bytes, kv_bytes_read } = done;
  /** @type {[string, string|number|false|undefined][]} */
  const known = [
    ['Prompt', `${count(n_prompt)} tokens${n_reused ? `, ${count(n_reused)} of them still in the cache` : ''}`],
    ['Prefill', prefill_tokens_per_second && rate(prefill_tokens_per_second)],
    ['First token', `after ${duration(done.prefill_seconds)}`],
    ['Decode', tokens_per_second && rate(tokens_per_second)],
    ['Predicted', tokens_per_second && predicted && reached
      && `at most ${rate(predicted)}; ${share(reached)} of it reached`],
    ['Memory read', bytes_per_second && `${bytes(bytes_per_second)}/s`],
    ['A token reads', weight_bytes && kv_bytes_read
      && `${bytes(weight_bytes)} of weights, ${bytes(kv_bytes_read)} of keys and values`],
    ['Dispatches', `${count(done.n_dispatches)} per token`],
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
