/** What is shown while a model loads: in the middle of the page, or quietly below it. */

import { find } from '../shared/dom.js';
import { createProgress, describe } from './files.js';
import { fitCard } from './preflight.js';

/**
 * Show how loads go.
 *
 * @param {(source: import('./files.js').Source) => boolean} isQuiet whether a model loads
 *   without taking the page
 */
export function createLoading(isQuiet) {
  const [main, quiet] = ['loading', 'preparing'].map((name) => createProgress({
    bar: find(`${name}-bar`), stage: find(`${name}-stage`), figures: find(`${name}-bytes`),
  }));
  const bar = (source) => (isQuiet(source) ? quiet : main);

  /** A load has begun; its section is shown already. */
  function begin(source) {
    bar(source).start();
    if (isQuiet(source)) return;
    closed('');
    find('loading-fit').replaceChildren();
    find('cancel-load').disabled = false;
    find('loading-file').textContent = describe(source);
    find('loading-title').focus();
  }

  function show(source, message) {
    bar(source).show(message);
    if (message.fit) find('loading-fit').replaceChildren(fitCard(message));
  }

  /** Say that the model of that name was closed to make room; empty is none. */
  function closed(name) {
    find('loading-note').textContent = name
      && `${name} was closed to make room; cancelling loads it again.`;
    find('loading-note').hidden = !name;
  }

  return { begin, show, closed };
}
