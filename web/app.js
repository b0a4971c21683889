/** The page: its states, and what leads from one to the next. */

import { createChat } from './chat.js';
import { createDemo, findDemo } from './demo.js';
import { createEngine } from './engine_client.js';
import { showInfo } from './info.js';
import { createProgress, describe, fileSource, watchFiles } from './load.js';
import { createOllama } from './ollama.js';
import { capabilityCard, checkFiles, errorCard, isFatal, missingWebGPU } from './problems.js';
import { createScroller } from './scroller.js';
import { createSettings } from './settings.js';
import { find, finePointer, prompt, showState } from './view.js';

const engine = createEngine({ onRuntime: () => {}, onCrash: (error) => lose(error) });
const settings = createSettings(find('settings'), refresh);
const progress = createProgress({
  bar: find('loading-bar'), stage: find('loading-stage'), figures: find('loading-bytes'),
});
const quietProgress = createProgress({
  bar: find('preparing-bar'), stage: find('preparing-stage'), figures: find('preparing-bytes'),
});
const demo = createDemo({ example: tryExample, load: () => reloadAndGoOn(demoSource) });
const ollama = createOllama({
  model: load,
  list: (folder) => engine.list(folder).result,
  problem: (error) => showProblem(error),
});
const scroller = createScroller(find('scroller'), find('jump'), () => !find('conversation').hidden);
const chat = createChat({
  engine,
  list: find('messages'),
  options: () => ({
    opening: model?.opening ?? [],
    think: settings.values.think,
    sampling: settings.sampling(),
    max_tokens: settings.values.max_tokens,
  }),
  onBusy: refresh,
  announce,
  actions: actionsAfter,
});

/** @typedef {import('./load.js').Source} Source */

/** @type {Source|null} the demonstration model, where the bundle holds one */
let demoSource = null;
/** @type {Source|null} the model last loaded, so that it can be loaded again */
let model = null;
/** What the engine said of the model it holds; null when it holds none. */
let info = null;
/** The context setting that the model was loaded with. */
let loadedContext = null;
/** @type {{source: Source, id: number, end: Promise<void>}|null} the load under way */
let loading = null;
/** Counts conversations, so that what waits in an old one is not said in a new one. */
let conversation = 0;
/** Whether the ways to another model are shown next to the one that is loaded. */
let choosing = false;
let blocked = '';

function state() {
  if (loading) return loading.source === demoSource ? 'preparing' : 'loading';
  if (!info) return 'empty';
  return chat.isBusy() ? 'generating' : 'ready';
}

function refresh() {
  const demoLoaded = info !== null && model === demoSource;
  showState({
    now: state(),
    canSend: canSend(),
    isEmpty: chat.isEmpty(),
    isUnanswered: chat.isUnanswered(),
    hasModel: info !== null,
    demoLoaded,
    choosing,
    contextPending: info !== null && settings.values.n_ctx !== loadedContext,
    think: settings.values.think,
    blocked,
  });
  demo.show(state(), demoLoaded ? info.name : '');
}

/** Say whether a message can be sent; while the model loads, one may wait for it. */
function canSend() {
  return state() === 'ready' || (state() === 'preparing' && !chat.isUnanswered());
}

/** @param {File[]} files */
function loadFiles(files) {
  const problem = checkFiles(files);
  if (problem) showProblem(problem);
  else load(fileSource(files));
}

/** @param {Source} source */
function load(source) {
  supersede();
  chat.stop();
  const quiet = source === demoSource;
  const bar = quiet ? quietProgress : progress;
  find('notices').replaceChildren();
  closeSheets();
  settings.use(source.profile);
  bar.start();
  const { n_ctx } = settings.values;
  const options = n_ctx ? { n_ctx } : {};
  const { id, result } = engine.load(source, options, { onProgress: bar.show });
  loading = { source, id, end: null };
  loading.end = finish(loading, result, n_ctx);
  choosing = false;
  refresh();
  if (quiet) return loading.end;
  find('loading-file').textContent = describe(source);
  find('loading-title').focus();
  return loading.end;
}

/** Take back the load under way: what it still says is not heard. */
function supersede() {
  if (!loading) return;
  // The demonstration model's can be stopped at any point, and the runtime goes on.
  if (loading.source === demoSource) engine.stop(loading.id);
  else engine.restart();
  loading = null;
}

async function finish(mine, result, n_ctx) {
  const outcome = await result.catch((error) => error);
  if (mine !== loading) return;
  loading = null;
  const { source } = mine;
  if (outcome.kind === 'error') failLoad(source, outcome);
  else finishLoad(source, outcome.info, n_ctx);
}

function finishLoad(source, newInfo, n_ctx) {
  // A message may have waited for the demonstration model.
  if (source !== model && (model || source !== demoSource)) clearChat();
  model = source;
  info = newInfo;
  loadedContext = n_ctx;
  const name = info.name || source.name;
  find('model-name').textContent = name;
  find('ready-text').textContent = `${name} is loaded. What is said here stays on this machine.`;
  refresh();
  announce(`${name} is loaded.`);
  if (finePointer.matches && source !== demoSource) prompt.focus();
}

/** Load the same model again and answer what was left unanswered. */
async function reloadAndGoOn(source) {
  await load(source);
  if (state() === 'ready' && chat.isUnanswered()) chat.answer();
}

/** A load that failed: unless the engine kept the model it had, there is none now. */
function failLoad(source, error) {
  if (!error.kept) info = null;
  if (isFatal(error)) engine.restart();
  if (info) settings.use(model.profile);
  refresh();
  showProblem(error, { reload: () => reloadAndGoOn(source) });
}

function cancelLoad() {
  supersede();
  info = null;
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
    ...(model ? { reload: () => reloadAndGoOn(model) } : {}),
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

function clearChat() {
  conversation += 1;
  chat.clear();
}

function newChat() {
  clearChat();
  choosing = false;
  find('notices').replaceChildren();
  refresh();
  prompt.focus();
  announce('New chat.');
}

function send() {
  const text = prompt.value.trim();
  if (!text || !canSend()) return;
  prompt.value = '';
  converse([text]);
}

/** Say these one after the other, each when the reply to the one before has ended. */
async function converse(texts) {
  const mine = conversation;
  choosing = false;
  find('notices').replaceChildren();
  for (const text of texts) {
    chat.say(text);
    refresh();
    scroller.toEnd();
    await loading?.end;
    if (mine !== conversation || state() !== 'ready') return;
    if (await chat.answer() !== 'stop' || mine !== conversation) return;
  }
}

/** An example says its first turn; the composer takes over from there. */
function tryExample(turns) {
  converse(turns);
  if (finePointer.matches) prompt.focus();
  else find('scroller').focus({ preventScroll: true });
}

function announce(text) {
  find('announcer').textContent = text;
}

function chooseAnother() {
  closeSheets();
  choosing = true;
  refresh();
  scroller.toEnd();
  find('file').focus();
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

function onKey(event) {
  const sheetOpen = document.querySelector('dialog[open]');
  if (event.key === 'Escape' && !sheetOpen && chat.isBusy()) {
    event.preventDefault();
    chat.stop();
  }
}

function wire() {
  const on = (id, type, listener) => find(id).addEventListener(type, listener);
  watchFiles(find('file'), find('veil'), loadFiles);
  on('composer', 'submit', (event) => { event.preventDefault(); send(); });
  on('prompt', 'keydown', onPromptKey);
  on('prompt', 'input', refresh);
  on('stop', 'click', chat.stop);
  on('think', 'click', () => settings.set('think', !settings.values.think));
  on('new-chat', 'click', newChat);
  on('cancel-load', 'click', cancelLoad);
  on('open-settings', 'click', () => find('settings').showModal());
  on('apply-context', 'click', () => load(model));
  on('change-model', 'click', chooseAnother);
  on('model-chip', 'click', () => {
    showInfo(find('info-rows'), info, model);
    demo.showAbout(model);
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
  const [missing, found] = await Promise.all([missingWebGPU(), findDemo()]);
  if (missing) refuse(missing);
  else if (found) offerDemo(found);
  if (!missing) ollama.start();
}

function refuse(missing) {
  blocked = 'WebGPU is needed to run a model.';
  find('capability').replaceChildren(capabilityCard(missing));
  document.body.classList.add('no-webgpu');
  find('file').disabled = true;
  refresh();
}

/** Load the demonstration model at once, unless a person was quicker. */
function offerDemo(found) {
  demoSource = found;
  demo.offer(found);
  if (loading || info) return refresh();
  load(found);
  if (finePointer.matches && document.activeElement === document.body) prompt.focus();
}

start();
