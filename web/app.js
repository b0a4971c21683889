/** The page: its states, and what leads from one to the next. */

import { createChat } from './chat.js';
import { createEngine } from './engine_client.js';
import { showInfo } from './info.js';
import { createProgress, modelName, watchFiles } from './load.js';
import { capabilityCard, checkFiles, errorCard, isFatal, missingWebGPU } from './problems.js';
import { createScroller } from './scroller.js';
import { createSettings } from './settings.js';

const find = (id) => document.getElementById(id);
const prompt = find('prompt');
const finePointer = matchMedia('(pointer: fine)');

const engine = createEngine({ onRuntime: () => {}, onCrash: (error) => lose(error) });
const settings = createSettings(find('settings'), refresh);
const progress = createProgress(document);
const scroller = createScroller(find('scroller'), find('jump'), () => !find('conversation').hidden);
const chat = createChat({
  engine,
  list: find('messages'),
  options: () => ({
    think: settings.values.think,
    sampling: settings.sampling(),
    max_tokens: settings.values.max_tokens,
  }),
  onBusy: refresh,
  announce,
  actions: actionsAfter,
});

/** The files last loaded, so that they can be loaded again. */
let files = [];
/** What the engine said of the model it holds; null when it holds none. */
let info = null;
/** The context setting that the model was loaded with. */
let loadedContext = null;
/** Counts loads, so that what a cancelled one still says is not heard. */
let loadNumber = 0;
let loading = false;
let blocked = '';

function state() {
  if (loading) return 'loading';
  if (!info) return 'empty';
  return chat.isBusy() ? 'generating' : 'ready';
}

/** Show the state: every element that depends on it is set here and nowhere else. */
function refresh() {
  const now = state();
  const talked = !chat.isEmpty();
  document.body.dataset.state = now;
  find('welcome').hidden = now !== 'empty';
  find('welcome').classList.toggle('below', talked);
  find('loading').hidden = now !== 'loading';
  find('ready').hidden = now !== 'ready' || talked;
  find('conversation').hidden = now === 'loading' || !talked;
  find('model-chip').hidden = !info;
  find('new-chat').hidden = !talked || now === 'loading';
  find('context-pending').hidden = !info || settings.values.n_ctx === loadedContext;
  refreshComposer(now);
}

function refreshComposer(now) {
  const usable = now === 'ready' || now === 'generating';
  prompt.disabled = !usable;
  prompt.placeholder = usable ? 'Message' : hint(now);
  find('think').disabled = !usable;
  find('think').setAttribute('aria-pressed', String(settings.values.think));
  find('send').disabled = now !== 'ready' || !prompt.value.trim();
  find('composer-hint').textContent = hint(now);
  fitPrompt();
  const stop = find('stop');
  const hadFocus = document.activeElement === stop || document.activeElement === find('send');
  stop.hidden = now !== 'generating';
  find('send').hidden = now === 'generating';
  if (hadFocus && usable) prompt.focus();
}

function hint(now) {
  if (now === 'loading') return 'You can write as soon as the model is loaded.';
  const choose = chat.isEmpty() ? 'Choose a model file to start.' : 'Load a model to go on.';
  if (now === 'empty') return blocked || choose;
  if (!finePointer.matches) return '';
  return now === 'generating' ? 'Esc stops' : 'Enter sends, Shift+Enter starts a new line';
}

async function load(chosen) {
  const problem = checkFiles(chosen);
  if (problem) return showProblem(problem);
  const same = chosen === files;
  if (loading) engine.restart();
  chat.stop();
  loadNumber += 1;
  const number = loadNumber;
  loading = true;
  find('notices').replaceChildren();
  closeSheets();
  progress.start(chosen);
  refresh();
  find('loading-title').focus();
  const { n_ctx } = settings.values;
  const { result } = engine.load(chosen, n_ctx ? { n_ctx } : {}, { onProgress: progress.show });
  const outcome = await result.catch((error) => error);
  if (number !== loadNumber) return;
  loading = false;
  if (outcome.kind === 'error') return failLoad(chosen, outcome);
  if (!same) chat.clear();
  finishLoad(chosen, outcome.info, n_ctx);
}

function finishLoad(chosen, newInfo, n_ctx) {
  files = chosen;
  info = newInfo;
  loadedContext = n_ctx;
  const name = info.name || modelName(files);
  find('model-name').textContent = name;
  find('ready-text').textContent = `${name} is loaded. What is said here stays on this machine.`;
  refresh();
  announce(`${name} is loaded.`);
  if (finePointer.matches) prompt.focus();
}

/** Load the same model again and answer what was left unanswered. */
async function reloadAndGoOn() {
  await load(files);
  if (state() === 'ready' && chat.isUnanswered()) chat.answer();
}

/** A load that failed: unless the engine kept the model it had, there is none now. */
function failLoad(chosen, error) {
  if (!error.kept) info = null;
  if (isFatal(error)) engine.restart();
  refresh();
  showProblem(error, { reload: () => load(chosen) });
}

function cancelLoad() {
  loadNumber += 1;
  loading = false;
  info = null;
  engine.restart();
  refresh();
  announce('Loading was cancelled.');
  find('file').focus();
}

/** The engine died with no request under way. */
function lose(error) {
  info = null;
  refresh();
  showProblem(error, actionsAfter(error));
}

/** What an error in a reply leaves to be done; a fatal one takes the model along. */
function actionsAfter(error) {
  if (isFatal(error)) {
    info = null;
    engine.restart();
  }
  refresh();
  return {
    ...(files.length ? { reload: reloadAndGoOn } : {}),
    ...(info ? { newChat } : {}),
    settings: () => find('settings').showModal(),
    choose: () => find('file').click(),
  };
}

function showProblem(error, actions = {}) {
  find('notices').replaceChildren(errorCard(error, {
    choose: () => find('file').click(),
    settings: () => find('settings').showModal(),
    dismiss: () => {},
    ...actions,
  }));
  scroller.toEnd();
}

function newChat() {
  chat.clear();
  find('notices').replaceChildren();
  refresh();
  prompt.focus();
  announce('New chat.');
}

function send() {
  const text = prompt.value.trim();
  if (!text || state() !== 'ready') return;
  prompt.value = '';
  find('notices').replaceChildren();
  scroller.toEnd();
  chat.send(text);
  refresh();
}

function announce(text) {
  find('announcer').textContent = text;
}

function closeSheets() {
  for (const sheet of document.querySelectorAll('dialog[open]')) sheet.close();
}

function onPromptKey(event) {
  // 229: the Enter that ends a composition, in Safari.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  send();
}

/** Grow with the text, where the style sheet alone cannot do it. */
function fitPrompt() {
  if (CSS.supports('field-sizing', 'content')) return;
  prompt.style.height = 'auto';
  prompt.style.height = `${prompt.scrollHeight}px`;
}

function onKey(event) {
  const sheetOpen = document.querySelector('dialog[open]');
  if (event.key === 'Escape' && !sheetOpen && chat.isBusy()) {
    event.preventDefault();
    chat.stop();
  }
}

function wire() {
  const on = (id, type, listener) => find(id).addEventListener(type, listener);
  watchFiles(find('file'), find('veil'), load);
  on('composer', 'submit', (event) => { event.preventDefault(); send(); });
  on('prompt', 'keydown', onPromptKey);
  on('prompt', 'input', refresh);
  on('stop', 'click', chat.stop);
  on('think', 'click', () => settings.set('think', !settings.values.think));
  on('new-chat', 'click', newChat);
  on('cancel-load', 'click', cancelLoad);
  on('open-settings', 'click', () => find('settings').showModal());
  on('apply-context', 'click', () => load(files));
  on('change-model', 'click', () => { closeSheets(); find('file').click(); });
  on('model-chip', 'click', () => {
    showInfo(find('info-rows'), info, files);
    find('info').showModal();
  });
  for (const sheet of document.querySelectorAll('dialog')) {
    // A click on the dialog itself is a click on its backdrop.
    sheet.addEventListener('click', (event) => { if (event.target === sheet) sheet.close(); });
  }
  document.addEventListener('keydown', onKey);
}

async function start() {
  wire();
  refresh();
  engine.start();
  const missing = await missingWebGPU();
  if (!missing) return;
  blocked = 'WebGPU is needed to run a model.';
  find('capability').replaceChildren(capabilityCard(missing));
  document.body.classList.add('no-webgpu');
  find('file').disabled = true;
  refresh();
}

start();
