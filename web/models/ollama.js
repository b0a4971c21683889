/**
 * Ollama's models: those that the local server lists, and those of a folder that a
 * person opens. Nothing is copied.
 *
 * @import { ChatMessage, Folder, Line, Store, TypedError } from '../engine/messages.js'
 * @import { Profile } from '../settings/settings.js'
 * @import { Source } from './files.js'
 */

import { button, element, find, focusFirst } from '../shared/dom.js';
import { bytes } from '../shared/format.js';
import { fileName } from './files.js';
import { OWN_FILES } from '../settings/settings.js';

/** Whether the page may be one of `build.py serve`, which has this machine's models. */
export const isLocal = () => LOOPBACK.has(location.hostname);

const LOOPBACK = new Set(['127.0.0.1', 'localhost', '[::1]']);
const DATABASE = 'lapidary';
const FOLDERS = 'folders';
const LAST = 'last';

/**
 * Offer Ollama's models.
 *
 * @param {object} on
 * @param {(source: Source) => void} on.model
 * @param {(source: Source) => void} on.check
 * @param {(folder: Folder) => Promise<Store|null>} on.list asks the engine what a folder
 *   holds; null when it was stopped meanwhile
 * @param {(error: TypedError) => void} on.problem
 */
export function createOllama(on) {
  const title = find('ollama-title').textContent;
  /** @type {{opened: boolean, lines: [Line, Source][]}[]} */
  const stores = [];

  /**
   * Show a store's models; those of a folder opened before go.
   *
   * @param {Line[]} models
   * @param {(line: Line) => Source} sourceOf
   * @param {boolean} opened
   */
  function show(models, sourceOf, opened) {
    if (opened) stores.splice(0, stores.length, ...stores.filter((store) => !store.opened));
    stores.push({ opened, lines: models.map((line) => [line, sourceOf(line)]) });
    const lines = stores.flatMap(({ lines: some }) => some);
    /** @param {[Line, Source]} entry */
    const isUsable = ([line]) => !line.problem;
    const sorted = [...lines.filter(isUsable), ...lines.filter((line) => !isUsable(line))];
    const items = sorted.map(([line, source]) => item(line, source));
    find('ollama-models').replaceChildren(...items);
    find('ollama-models').hidden = items.length === 0;
    const n = items.length;
    find('ollama-title').textContent = n ? `Your Ollama models (${n})` : title;
  }

  /**
   * @param {Line} line
   * @param {Source} source
   */
  function item(line, source) {
    const node = element('li');
    const facts = [line.parameters, line.quantization, line.size ? bytes(line.size) : ''];
    const choice = button('', 'model', () => on.model(source));
    choice.disabled = Boolean(line.problem);
    choice.append(
      element('span', 'model-title', line.name),
      element('span', 'figures', facts.filter(Boolean).join(' · ')),
    );
    node.append(choice);
    if (line.weights) node.append(checkButton(line, source));
    if (line.problem) node.append(element('p', 'help', line.problem.text));
    return node;
  }

  /**
   * @param {Line} line
   * @param {Source} source
   */
  function checkButton(line, source) {
    const check = button('Check ', 'link', () => on.check(source));
    check.title = `Compute the SHA-256 of ${line.name} and compare it`;
    check.append(element('span', 'visually-hidden', `${line.name} `), 'for damage');
    return check;
  }

  /** List the models that `build.py serve` offers; of other hosts the bundle says none. */
  async function findServed() {
    if (!isLocal()) return;
    const answer = await fetch('ollama/models.json').catch(() => null);
    if (!answer?.ok) return;
    const { models } = await answer.json();
    if (models.length) show(models, servedSource, false);
  }

  /** @param {Folder} folder */
  async function openFolder(folder) {
    find('open-folder', HTMLButtonElement).disabled = true;
    try {
      const store = await on.list(folder);
      if (!store) return;
      show(store.models, (line) => folderSource(line, folder), true);
      focusFirst(find('ollama-models'), 'button:enabled');
      if (folder.handle) remember(folder.handle);
    } catch (error) {
      on.problem(error);
    } finally {
      find('open-folder', HTMLButtonElement).disabled = false;
    }
  }

  async function pick() {
    if (!window.showDirectoryPicker) return find('folder').click();
    // A person who closes the dialog wants nothing.
    const handle = await window.showDirectoryPicker({ id: 'ollama', mode: 'read' })
      .catch(() => null);
    if (handle) openFolder({ handle });
  }

  async function offerLast() {
    const handle = await remembered();
    if (!handle) return;
    const reopen = find('reopen-folder');
    reopen.textContent = `Reopen “${handle.name}”`;
    reopen.hidden = false;
    reopen.addEventListener('click', async () => {
      const state = await handle.requestPermission?.({ mode: 'read' }) ?? 'granted';
      if (state === 'granted') openFolder({ handle });
    });
  }

  function start() {
    find('open-folder').addEventListener('click', pick);
    const chosen = find('folder', HTMLInputElement);
    chosen.addEventListener('change', () => {
      const files = [...chosen.files ?? []];
      chosen.value = '';
      const paths = files.map((file) => file.webkitRelativePath);
      if (files.length) openFolder({ files, paths });
    });
    offerLast();
    findServed();
  }

  return { start };
}

/**
 * @param {Line} line
 * @returns {Source}
 */
function servedSource(line) {
  const names = (line.weights ?? []).map(({ blob }) => blob);
  const urls = names.map((name) => new URL(`ollama/blobs/${name}`, document.baseURI).href);
  return { ...common(line, names), urls };
}

/**
 * @param {Line} line
 * @param {Folder} folder
 * @returns {Source}
 */
function folderSource(line, folder) {
  const names = (line.weights ?? []).map(({ blob }) => blob);
  return { ...common(line, names), folder, model: line.full_name };
}

/**
 * @param {Line} line
 * @param {string[]} names
 * @returns {Source}
 */
function common(line, names) {
  const { name, size, large, template, notes } = line;
  return {
    name,
    size: size ?? 0,
    file: fileName(names),
    opening: opening(line),
    profile: profile(line),
    large,
    template,
    notes,
    checkable: true,
    listed: 'ollama-models',
    pull: name,
  };
}

/**
 * The model's own settings; they are shown, and a person's own go before.
 *
 * @param {Pick<Line, 'name'|'sampling'|'max_tokens'|'n_ctx'|'stop'>} line
 * @returns {Profile}
 */
export function profile({ name, sampling, max_tokens, n_ctx, stop }) {
  const defaults = {
    ...sampling,
    ...(max_tokens ? { max_tokens } : {}),
    ...(stop?.length ? { stops: stop } : {}),
  };
  const note = Object.keys(defaults).length || n_ctx
    ? `${name} brings settings of its own. What you change here counts for all of your models.`
    : '';
  return { ...OWN_FILES, defaults, context: n_ctx ?? null, note };
}

/**
 * What a conversation with the model begins with: its system prompt comes first.
 *
 * @param {Line} line
 * @returns {ChatMessage[]}
 */
function opening({ system, messages = [] }) {
  if (!system) return messages;
  const others = messages.filter(({ role }) => role !== 'system' && role !== 'developer');
  return [{ role: 'system', content: system }, ...others];
}

// The folder that was opened last.

/** @returns {Promise<IDBDatabase>} */
function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(FOLDERS);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(folders: IDBObjectStore) => IDBRequest<T>} action
 * @returns {Promise<T>}
 */
async function transact(mode, action) {
  const database = await open();
  /** @type {Promise<T>} */
  const result = new Promise((resolve, reject) => {
    const request = action(database.transaction(FOLDERS, mode).objectStore(FOLDERS));
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return result.finally(() => database.close());
}

/**
 * Private windows may refuse storage: the folder is then asked for each time.
 *
 * @param {FileSystemDirectoryHandle} handle
 */
const remember = (handle) => transact('readwrite', (folders) => folders.put(handle, LAST))
  .catch(() => {});
/** @type {() => Promise<FileSystemDirectoryHandle|null>} */
const remembered = () => transact('readonly', (folders) => folders.get(LAST)).catch(() => null);
