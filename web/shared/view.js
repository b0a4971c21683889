/** What of the page depends on its state; the elements are in index.html. */

import { find } from './dom.js';

export const prompt = find('prompt', HTMLTextAreaElement);
export const finePointer = matchMedia('(pointer: fine)');

/** Put the focus where a person goes on; on a phone it would bring up the keyboard. */
export function focusPrompt() {
  if (finePointer.matches && !prompt.disabled) prompt.focus();
  else find('scroller').focus({ preventScroll: true });
}

/**
 * @typedef {object} View
 * @property {'empty'|'preparing'|'checking'|'loading'|'ready'|'generating'} now
 *   `preparing` is the loading of a model of the first screen, which leaves the page usable;
 *   `checking` shows what another takes before it is loaded
 * @property {boolean} canSend
 * @property {boolean} isEmpty nothing has been said
 * @property {boolean} isUnanswered what was said last waits for its answer
 * @property {string} model the name of the one that is loaded; empty when none is
 * @property {boolean} greeterLoaded the one that is loaded is one of those on the first screen
 * @property {boolean} choosing the person asked for the ways to another model
 * @property {boolean} contextPending another context was set than the model has
 * @property {boolean} think
 * @property {boolean} thinks whether the model can; as far as none is loaded, yes
 * @property {string} blocked why no model can run here, if none can
 */

/**
 * Show the state: every element that depends on it is set here and nowhere else.
 *
 * @param {View} view
 */
export function showState(view) {
  const { now, isEmpty } = view;
  const greets = isEmpty && (now === 'preparing' || (now === 'ready' && view.greeterLoaded));
  document.body.dataset.state = now;
  const isBetween = now === 'loading' || now === 'checking';
  const choosing = view.choosing && !isBetween;
  find('welcome').hidden = now !== 'empty' && !greets && !choosing;
  find('welcome').classList.toggle('below', !isEmpty);
  find('fit').hidden = now !== 'checking';
  find('loading').hidden = now !== 'loading';
  find('preparing').hidden = now !== 'preparing';
  find('ready').hidden = now !== 'ready' || !isEmpty || view.greeterLoaded || choosing;
  find('conversation').hidden = isBetween || isEmpty;
  find('examples').hidden = !greets;
  find('model-chip').hidden = !view.model;
  find('model-name').textContent = view.model;
  find('ready-text').textContent = `${view.model} is loaded. What is said here stays on this machine.`;
  find('new-chat').hidden = isEmpty || isBetween;
  find('context-pending').hidden = !view.contextPending;
  showComposer(view);
}

/** @param {View} view */
function showComposer(view) {
  const { now } = view;
  const usable = ['preparing', 'ready', 'generating'].includes(now);
  prompt.disabled = !usable;
  prompt.placeholder = usable ? 'Message' : hint(view);
  find('think', HTMLButtonElement).disabled = !usable;
  find('think').hidden = !view.thinks;
  find('think').setAttribute('aria-pressed', String(view.think));
  find('send', HTMLButtonElement).disabled = !view.canSend || !prompt.value.trim();
  find('composer-hint').textContent = hint(view);
  fitPrompt();
  const stop = find('stop');
  const hadFocus = document.activeElement === stop || document.activeElement === find('send');
  stop.hidden = now !== 'generating';
  find('send').hidden = now === 'generating';
  if (hadFocus && usable) prompt.focus();
}

/** @param {View} view */
function hint({ now, isEmpty, isUnanswered, blocked }) {
  if (now === 'loading' || now === 'checking') return 'You can write as soon as the model is loaded.';
  if (now === 'preparing' && isUnanswered) return 'It is answered once the model is loaded.';
  if (now === 'empty' && blocked) return blocked;
  if (now === 'empty') return isEmpty ? 'Choose a model file to start.' : 'Load a model to go on.';
  if (!finePointer.matches) return '';
  return now === 'generating' ? 'Esc stops' : 'Enter sends, Shift+Enter starts a new line';
}

/** Grow with the text, where the style sheet alone cannot do it. */
function fitPrompt() {
  if (CSS.supports('field-sizing', 'content')) return;
  prompt.style.height = 'auto';
  prompt.style.height = `${prompt.scrollHeight}px`;
}
