/** Choosing or dropping a model, and showing how its loading goes. */

import { bytes, duration } from './format.js';

/**
 * Call `onFiles` with what a person chooses in the file dialog or drops anywhere.
 *
 * @param {HTMLInputElement} input
 * @param {HTMLElement} veil shown while files hang over the page
 * @param {(files: File[]) => void} onFiles
 */
export function watchFiles(input, veil, onFiles) {
  input.addEventListener('change', () => {
    const files = [...input.files];
    input.value = ''; // so that choosing the same file again is a change again
    if (files.length) onFiles(files);
  });
  let depth = 0;
  const over = (change) => {
    depth = Math.max(0, depth + change);
    veil.hidden = depth === 0;
  };
  const withFiles = (listener) => (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    listener(event);
  };
  window.addEventListener('dragenter', withFiles(() => over(1)));
  window.addEventListener('dragleave', withFiles(() => over(-1)));
  window.addEventListener('dragover', withFiles((event) => {
    event.dataTransfer.dropEffect = 'copy';
  }));
  window.addEventListener('drop', withFiles((event) => {
    over(-depth);
    const files = [...event.dataTransfer.files];
    if (files.length) onFiles(files);
  }));
}

/** Name what was chosen: the file, or the first of several shards. */
export function modelName(files) {
  const names = files.map((file) => file.name).sort();
  const name = names[0].replace(/\.gguf$/i, '');
  const digest = /^sha256[-:]([0-9a-f]{12})[0-9a-f]*$/i.exec(name);
  return digest ? `Blob ${digest[1]}` : name.replace(/-0*1-of-0*\d+$/, '');
}

/**
 * Show progress messages: a bar, bytes, speed and the time left.
 *
 * @param {Document} root where the elements live
 */
export function createProgress(root) {
  const find = (id) => root.getElementById(id);
  const bar = find('loading-bar');
  let samples = [];
  let stage = '';

  function start(files) {
    const size = files.reduce((sum, file) => sum + file.size, 0);
    const parts = files.length > 1 ? ` in ${files.length} parts` : '';
    find('loading-file').textContent = `${modelName(files)} · ${bytes(size)}${parts}`;
    stage = '';
    show({ stage: 'start', done: 0, total: 0, text: 'Starting the Python runtime' });
  }

  function show({ stage: newStage, done, total, text }) {
    if (newStage !== stage) samples = [];
    stage = newStage;
    find('loading-stage').textContent = text;
    if (total > 0) bar.value = Math.min(1, done / total);
    else bar.removeAttribute('value');
    find('loading-bytes').textContent = total >= 1e5 ? figures(done, total) : '';
  }

  function figures(done, total) {
    const now = performance.now() / 1000;
    samples.push([now, done]);
    samples = samples.filter(([time]) => now - time < 3);
    const [since, from] = samples[0];
    const speed = now - since > 0.2 ? (done - from) / (now - since) : 0;
    const parts = [`${bytes(done)} of ${bytes(total)}`];
    if (speed > 0) parts.push(`${bytes(speed)}/s`);
    const left = (total - done) / speed;
    if (speed > 0 && left >= 1) parts.push(`${duration(left)} left`);
    return parts.join(' · ');
  }

  return { start, show };
}
