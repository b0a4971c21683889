/**
 * What is shown while a model loads: in the middle of the page, or quietly below it.
 *
 * @import { ProgressMessage } from '../engine/messages.js'
 * @import { Source } from './files.js'
 */

import { find } from '../shared/dom.js';
import { createProgress, describe } from './files.js';
import { fitCard } from './preflight.js';

/**
 * Show how loads go.
 *
 * @param {(source: Source) => boolean} isQuiet whether a model loads
 *   without taking the page
 */
export function createLoading(isQuiet) {
  const [main, quiet] = ['loading', 'preparing'].map((name) => createProgress({
    bar: find(`${name}-bar`, HTMLProgressElement), stage: find(`${name}-stage`), figures: find(`${name}-bytes`),
  }));
  /** @param {Source} source */
  const bar = (source) => (isQuiet(source) ? quiet : main);

  /**
   * A load has begun; its section is shown already.
   *
   * @param {Source} source
   */
  function begin(source) {
    bar(source).start();
    if (isQuiet(source)) return;
    closed('');
    find('loading-fit').replaceChildren();
    find('cancel-load', HTMLButtonElement).disabled = false;
    find('loading-file').textContent = describe(source);
    find('loading-title').focus();
  }

  /**
   * @param {Source} source
   * @param {ProgressMessage} message
   */
  function show(source, message) {
    bar(source).show(message);
    const { fit } = message;
    if (fit) find('loading-fit').replaceChildren(fitCard({ fit }));
  }

  /**
   * Say that the model of that name was closed to make room; empty is none.
   *
   * @param {string} name
   */
  function closed(name) {
    find('loading-note').textContent = name
      && `${name} was closed to make room; cancelling loads it again.`;
    find('loading-note').hidden = !name;
  }

  return { begin, show, closed };
}
