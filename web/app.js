/**
 * The page: its states, and what leads from one to the next.
 *
 * @import { Source } from './models/files.js'
 * @import { Missing } from './shared/problems.js'
 * @import { View } from './shared/view.js'
 */

import { createComposer } from './chat/composer.js';
import { createConversation } from './chat/conversation.js';
import { findDemo } from './models/demo.js';
import { closeSheets, find, focusFirst } from './shared/dom.js';
import { createDownloads } from './downloads/list.js';
import { createEngine } from './engine/client.js';
import { showInfo, showSpeed } from './models/info.js';
import { fileSource, watchFiles } from './models/files.js';
import { createGreeting } from './models/greeting.js';
import { createLoading } from './models/loading.js';
import { createModel, loadOptions } from './models/model.js';
import { createOllama } from './models/ollama.js';
import { createPreflight } from './models/preflight.js';
import { findPulled } from './models/pulled.js';
import { createRecovery } from './models/recovery.js';
import { capabilityCard, checkBeginnings, checkFiles, missingWebGPU } from './shared/problems.js';
import { createScroller } from './chat/scroller.js';
import { createSettings } from './settings/settings.js';
import { keepSpeed } from './models/speed.js';
import { createVerify } from './models/verify.js';
import { focusPrompt, prompt, showState } from './shared/view.js';

const engine = createEngine({
  crash: (...crash) => recovery.lose(...crash),
  ready: (sampling) => settings.learn(sampling),
});
const settings = createSettings(refresh);
const loading = createLoading((source) => greeting.holds(source));
const model = createModel({
  engine,
  settings,
  on: {
    change: refresh,
    begin: beginLoad,
    progress: loading.show,
    closed: loading.closed,
    loaded: finishLoad,
    failed: (...failure) => recovery.failLoad(...failure),
    cancelled: cancelledLoad,
  },
});
const preflight = createPreflight({
  engine,
  settings,
  options: (source) => loadOptions(source, settings.values.n_ctx),
  on: {
    begin: beginCheck,
    change: refresh,
    isReplying: () => conversation.isBusy(),
    load: model.load,
    failed: (...failure) => recovery.failCheck(...failure),
    cancelled: () => {
      model.useSettings();
      cancelledLoad(model.info ? 'kept' : 'none');
    },
  },
});
const verify = createVerify({ engine });
const greeting = createGreeting({
  engine,
  model,
  settings,
  on: {
    change: refresh,
    isFree: () => !preflight.isOpen() && !model.loading && !model.info,
    isReady: () => state() === 'ready',
    example: (turns) => composer.tryExample(turns),
  },
});
const ollama = createOllama({
  model: preflight.open,
  check: verify,
  async list(folder) {
    const done = await engine.list(folder).result;
    return 'store' in done ? done.store : null;
  },
  problem: (error) => recovery.show(error),
});
const downloads = createDownloads({
  model: preflight.open,
  isUsed: (id) => [model.info && model.source, model.loading?.source]
    .some((source) => source?.stored === id),
  isIdle: () => conversation.isEmpty() && ['empty', 'preparing', 'ready'].includes(state()),
  problem: (...problem) => recovery.show(...problem),
  announce,
});
const scroller = createScroller(find('scroller'), find('jump'), () => !find('conversation').hidden);
const conversation = createConversation({
  engine,
  list: find('messages'),
  options: () => ({
    opening: model.source?.opening ?? [],
    think: settings.values.think && thinks(),
    sampling: settings.sampling(),
    stop: settings.values.stops,
    max_tokens: settings.values.max_tokens,
  }),
  model: modelNow,
  onBusy: refresh,
  onReply: (done) => { if (model.info) keepSpeed(model.info, done); },
  announce,
  onProblem: (card) => { if (scroller.isFollowing()) scroller.reveal(card); },
  box: {
    takeBack: (text) => composer.takeBack(text),
    again: (text) => composer.again(text),
    focus: () => prompt.focus(),
  },
  actions: (error) => recovery.actionsAfter(error),
  tell: (...problem) => recovery.show(...problem),
});
const composer = createComposer({
  conversation,
  state,
  on: { begin: clearAway, change: refresh, said: scroller.toEnd, announce },
});
const recovery = createRecovery({
  engine,
  model,
  settings,
  preflight,
  verify,
  newChat: composer.startAnew,
  toList,
  on: { change: refresh, told: scroller.reveal },
});

/** Whether the ways to another model are shown next to the one that is loaded. */
let choosing = false;
let blocked = '';

/** @returns {View['now']} */
function state() {
  if (preflight.isOpen()) return 'checking';
  if (model.loading) return greeting.holds(model.loading.source) ? 'preparing' : 'loading';
  if (!model.info) return 'empty';
  return conversation.isBusy() ? 'generating' : 'ready';
}

function refresh() {
  const { info, source, context } = model;
  const name = info ? info.name || source?.name || '' : '';
  showState({
    now: state(),
    canSend: composer.canSend(),
    isEmpty: conversation.isEmpty(),
    isUnanswered: conversation.isUnanswered(),
    model: name,
    greeterLoaded: info !== null && greeting.holds(source),
    choosing,
    contextPending: info !== null && settings.values.n_ctx !== context,
    think: settings.values.think,
    thinks: thinks(),
    blocked,
  });
  greeting.show();
  conversation.show();
}

/** Whether the model can think; until one is loaded that cannot, yes. */
function thinks() {
  return model.info?.thinks !== false;
}

/** Which model would answer now, if one can. */
function modelNow() {
  const { info, source } = model;
  if (!['ready', 'generating'].includes(state()) || !info || !source) return null;
  const { name, file, size } = source;
  return { key: [name, file, size].join(' · '), name: info.name || name, source: name };
}

/** @param {File[]} files */
async function loadFiles(files) {
  const problem = checkFiles(files) ?? (conversation.isBusy() ? await checkBeginnings(files) : null);
  if (problem) recovery.show(problem);
  else preflight.open(fileSource(files));
}

/** What was chosen from, and what was told of, is over. */
function clearAway() {
  choosing = false;
  find('notices').replaceChildren();
}

function beginCheck() {
  clearAway();
  closeSheets();
}

/** @param {Source} source */
function beginLoad(source) {
  conversation.stop();
  preflight.drop();
  beginCheck();
  refresh();
  loading.begin(source);
}

/**
 * @param {Source} source
 * @param {Source|null} before
 */
function finishLoad(source, before) {
  conversation.clearProblems(); // they were another model's, or led to this
  // What waited for another model is that one's affair.
  if (source !== (before ?? greeting.greeter())) conversation.takeBack();
  refresh();
  announce(`${model.info?.name || source.name} is loaded.`);
  if (!greeting.holds(source)) focusPrompt();
  composer.goOn();
}

function cancelLoad() {
  find('cancel-load', HTMLButtonElement).disabled = true;
  model.cancel();
}

/** @param {'kept'|'closed'|'none'} left what became of the model before */
function cancelledLoad(left) {
  announce(left === 'closed'
    ? 'Loading was cancelled. The model before is loaded again.'
    : 'Loading was cancelled.');
  if (left === 'none') find('file').focus();
  if (left === 'kept') focusPrompt();
  composer.goOn();
}

/** @param {string} text */
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

/** @param {Source} source one of a list */
function toList({ listed, name }) {
  choosing = true;
  refresh();
  if (!listed) return;
  const list = find(listed);
  list.closest('details')?.toggleAttribute('open', true);
  const items = [...list.children];
  const item = items.find((each) => each.querySelector('.model-title')?.textContent === name);
  focusFirst(item ?? list, 'button:enabled:not([hidden])');
}

function tellOfModel() {
  const { info, source } = model;
  if (!info || !source) return;
  showInfo(find('info-rows'), info, source);
  showSpeed(find('info-rows'), info, engine, state() === 'ready');
  greeting.showAbout(source);
  find('check-file').hidden = !source.checkable;
  find('info', HTMLDialogElement).showModal();
}

function wire() {
  /** @type {(id: string, type: string, listener: () => void) => void} */
  const on = (id, type, listener) => find(id).addEventListener(type, listener);
  watchFiles(find('file', HTMLInputElement), find('veil'), loadFiles);
  composer.wire();
  on('think', 'click', () => settings.set('think', !settings.values.think));
  on('cancel-load', 'click', cancelLoad);
  on('open-settings', 'click', () => find('settings', HTMLDialogElement).showModal());
  on('apply-context', 'click', () => { if (model.source) model.load(model.source); });
  on('change-model', 'click', chooseAnother);
  on('model-chip', 'click', tellOfModel);
  on('check-file', 'click', () => { if (model.source) verify(model.source); });
  for (const sheet of document.querySelectorAll('dialog')) {
    // A click on the dialog itself is a click on its backdrop.
    sheet.addEventListener('click', (event) => { if (event.target === sheet) sheet.close(); });
  }
}

async function start() {
  wire();
  refresh();
  engine.start();
  const [missing, found, lines] = await Promise.all([missingWebGPU(), findDemo(), findPulled()]);
  // Shown once it is known what there is, so that nothing moves under a person's hand.
  document.body.classList.remove('arriving');
  if (!missing) greeting.greet(found, lines);
  if (missing) return refuse(missing);
  ollama.start();
  downloads.start();
}

/** @param {Missing} missing */
function refuse(missing) {
  blocked = 'WebGPU is needed to run a model.';
  find('capability').replaceChildren(capabilityCard(missing));
  document.body.classList.add('no-webgpu');
  find('file', HTMLInputElement).disabled = true;
  refresh();
}

start();
