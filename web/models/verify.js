/**
 * The panel that holds a model's files to the SHA-256 that is in their names.
 *
 * @import { Engine } from '../engine/client.js'
 * @import { VerifyDone } from '../engine/messages.js'
 * @import { Source } from './files.js'
 */

import { closeSheets, element, find } from '../shared/dom.js';
import { bytes, duration } from '../shared/format.js';
import { createProgress } from './files.js';
import { errorCard } from '../shared/problems.js';

/**
 * Offer the check.
 *
 * @param {{engine: Engine}} parts
 * @returns {(source: Source) => Promise<void>} checks a model's files
 */
export function createVerify({ engine }) {
  const panel = find('check', HTMLDialogElement);
  const progress = createProgress({
    bar: find('check-bar', HTMLProgressElement), stage: find('check-stage'), figures: find('check-bytes'),
  });
  /** @type {number|null} the request under way */
  let current = null;

  /** @param {HTMLElement|null} verdict */
  function show(verdict) {
    find('check-running').hidden = Boolean(verdict);
    find('check-end').textContent = verdict ? 'Done' : 'Cancel';
    find('check-verdict').replaceChildren(...verdict ? [verdict] : []);
  }

  /** @param {Source} source */
  async function check(source) {
    closeSheets();
    find('check-name').textContent = `${source.name} · ${bytes(source.size)}`;
    progress.start();
    show(null);
    panel.showModal();
    const { id, result } = engine.verify(source, { onProgress: progress.show });
    current = id;
    const outcome = await result.catch((error) => error);
    if (current !== id) return;
    current = null;
    if (outcome.kind === 'error') show(errorCard(outcome, {}));
    else if ('n_bytes' in outcome) show(intact(outcome));
    else panel.close(); // it was stopped along with the engine
  }

  panel.addEventListener('close', () => {
    if (current !== null) engine.stop(current);
    current = null;
  });
  return check;
}

/** @param {VerifyDone} done */
function intact({ n_bytes, seconds, bytes_per_second }) {
  const card = element('div', 'card');
  card.append(
    element('h2', 'card-title', 'The file is intact'),
    element('p', '', `Its SHA-256 is the one in its name: ${bytes(n_bytes)} read in `
      + `${duration(seconds)}, ${bytes(bytes_per_second)}/s.`),
  );
  return card;
}
