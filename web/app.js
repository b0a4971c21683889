/** The page: its states, and what leads from one to the next. */

import { createComposer } from './chat/composer.js';
import { createConversation } from './chat/conversation.js';
import { createDemo, EXAMPLES, findDemo, showExamples } from './models/demo.js';
import { closeSheets, find } from './shared/dom.js';
import { createDownloads } from './downloads/list.js';
import { createEngine } from './engine/client.js';
import { showInfo, showSpeed } from './models/info.js';
import { fileSource, watchFiles } from './models/files.js';
import { createLoading } from './models/loading.js';
import { createModel, loadOptions } from './models/model.js';
import { createOllama } from './models/ollama.js';
import { createPreflight } from './models/preflight.js';
import { createPulled, EXAMPLES as REAL_EXAMPLES, findPulled } from './models/pulled.js';
import { createRecovery } from './models/recovery.js';
import { capabilityCard, checkBeginnings, checkFiles, missingWebGPU } from './shared/problems.js';
import { createScroller } from './chat/scroller.js';
import { createSettings } from './settings/settings.js';
import { devices, keepDevice, keepSpeed } from './models/speed.js';
import { createVerify } from './models/verify.js';
import { finePointer, focusPrompt, prompt, showState } from './shared/view.js';

const engine = createEngine((...crash) => recovery.lose(...crash));
const settings = createSettings(find('settings'), refresh);
const loading = createLoading((source) => greets(source));
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
const demo = createDemo(() => model.load(demoSource));
const pulled = createPulled(model.load);
const ollama = createOllama({
  model: preflight.open,
  check: verify,
  list: (folder) => engine.list(folder).result,
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

/** @typedef {import('./models/files.js').Source} Source */

/** @type {Source|null} the demonstration model, where the bundle holds one */
let demoSource = null;
/** @type {Source|null} the model that the page opens with */
let greeter = null;
/** @type {Source|null} the model of the first screen whose examples are shown */
let asked = null;
/** Whether the ways to another model are shown next to the one that is loaded. */
let choosing = false;
let blocked = '';

function state() {
  if (preflight.isOpen()) return 'checking';
  if (model.loading) return greets(model.loading.source) ? 'preparing' : 'loading';
  if (!model.info) return 'empty';
  return conversation.isBusy() ? 'generating' : 'ready';
}

/** Whether a model is one of those on the first screen. */
function greets(source) {
  return source === demoSource || pulled.holds(source);
}

function statusOf(source) {
  if (model.loading?.source === source) return 'loading';
  return model.info && model.source === source ? 'ready' : '';
}

/** Show what can be asked of the model of the first screen that is loaded, or loading. */
function offerExamples() {
  const now = model.loading?.source ?? model.source;
  if (!now || now === asked || !greets(now)) return;
  asked = now;
  showExamples(pulled.holds(now) ? REAL_EXAMPLES : EXAMPLES, composer.tryExample);
}

function refresh() {
  const { info, source, context } = model;
  const name = info ? info.name || source.name : '';
  showState({
    now: state(),
    canSend: composer.canSend(),
    isEmpty: conversation.isEmpty(),
    isUnanswered: conversation.isUnanswered(),
    model: name,
    greeterLoaded: info !== null && greets(source),
    choosing,
    contextPending: info !== null && settings.values.n_ctx !== context,
    think: settings.values.think,
    thinks: thinks(),
    blocked,
  });
  demo.show(statusOf(demoSource), info && source === demoSource ? name : '');
  pulled.show(statusOf);
  offerExamples();
  conversation.show();
}

/** Whether the model can think; until one is loaded that cannot, yes. */
function thinks() {
  return model.info?.thinks !== false;
}

/** Which model would answer now, if one can. */
function modelNow() {
  if (!['ready', 'generating'].includes(state())) return null;
  const { name, file, size } = model.source;
  return { key: [name, file, size].join(' · '), name: model.info.name || name, source: name };
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

function finishLoad(source, before) {
  conversation.clearProblems(); // they were another model's, or led to this
  // What waited for another model is that one's affair.
  if (source !== (before ?? greeter)) conversation.takeBack();
  refresh();
  announce(`${model.info.name || source.name} is loaded.`);
  if (!greets(source)) focusPrompt();
  composer.goOn();
}

function cancelLoad() {
  find('cancel-load').disabled = true;
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
  const list = find(listed);
  list.closest('details').open = true;
  const items = [...list.children];
  const item = items.find((each) => each.querySelector('.model-title').textContent === name);
  (item ?? list).querySelector('button:enabled:not([hidden])')?.focus();
}

function wire() {
  const on = (id, type, listener) => find(id).addEventListener(type, listener);
  watchFiles(find('file'), find('veil'), loadFiles);
  composer.wire();
  on('think', 'click', () => settings.set('think', !settings.values.think));
  on('cancel-load', 'click', cancelLoad);
  on('open-settings', 'click', () => find('settings').showModal());
  on('apply-context', 'click', () => model.load(model.source));
  on('change-model', 'click', chooseAnother);
  on('model-chip', 'click', () => {
    showInfo(find('info-rows'), model.info, model.source);
    showSpeed(find('info-rows'), model.info, engine, state() === 'ready');
    demo.showAbout(model.source);
    find('check-file').hidden = !model.source.checkable;
    find('info').showModal();
  });
  on('check-file', 'click', () => verify(model.source));
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
  if (!missing) greet(found, lines);
  if (missing) return refuse(missing);
  ollama.start();
  downloads.start();
}

function refuse(missing) {
  blocked = 'WebGPU is needed to run a model.';
  find('capability').replaceChildren(capabilityCard(missing));
  document.body.classList.add('no-webgpu');
  find('file').disabled = true;
  refresh();
}

/**
 * Load a model at once, unless a person was quicker: a real one, or on an adapter in
 * software the small one. How fast the real one would be there is then told.
 */
async function greet(found, lines) {
  demoSource = found;
  if (found) demo.offer(found);
  pulled.offer(lines);
  const real = pulled.first();
  refresh();
  const isSoftware = real && found && await isInSoftware();
  greeter = real && !isSoftware ? real : found;
  if (!greeter || preflight.isOpen() || model.loading || model.info) return;
  const isLoaded = model.load(greeter);
  if (finePointer.matches && document.activeElement === document.body) prompt.focus();
  await isLoaded;
  if (isSoftware && state() === 'ready') predict(real);
}

async function isInSoftware() {
  const { adapter } = await engine.adapter({ measured: devices() }).result.catch(() => ({}));
  return adapter?.is_software ?? true;
}

/** Tell how fast a model of the first screen would be, from its header alone. */
async function predict(source) {
  const options = loadOptions(source, settings.values.n_ctx);
  const { preflight: found } = await engine.preflight(source, options, { isQuiet: true }).result
    .catch(() => ({}));
  if (!found?.prediction) return;
  keepDevice(found);
  pulled.showSpeed(source, found.prediction.tokens_per_second);
}

start();
