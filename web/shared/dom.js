/** Elements of the page: finding and making them. */

/**
 * Find an element of index.html.
 *
 * @overload
 * @param {string} id
 * @returns {HTMLElement}
 */
/**
 * @template {HTMLElement} T
 * @overload
 * @param {string} id
 * @param {new () => T} type what it must be
 * @returns {T}
 */
/**
 * @param {string} id
 * @param {new () => HTMLElement} type
 */
export function find(id, type = HTMLElement) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new TypeError(`index.html has no ${type.name} #${id}`);
  return found;
}

/**
 * Make an element with a class and text.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} className
 * @param {string} text
 */
export function element(tag, className = '', text = '') {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

/**
 * Make a button; a form's own are in index.html.
 *
 * @param {string} text
 * @param {string} className
 * @param {() => void} onClick
 */
export function button(text, className, onClick) {
  const node = element('button', className, text);
  node.type = 'button';
  node.addEventListener('click', onClick);
  return node;
}

/**
 * Make a row of a `dl`: a name and a value, and perhaps what it means.
 *
 * @param {string} name
 * @param {string} value
 * @param {string} detail
 */
export function fact(name, value, detail = '') {
  const row = element('div');
  const shown = element('dd', '', value);
  if (detail) shown.append(element('span', 'detail', ` ${detail}`));
  row.append(element('dt', '', name), shown);
  return row;
}

/**
 * Put the focus on the first element of a kind, if there is one.
 *
 * @param {Element} root
 * @param {string} selector
 */
export function focusFirst(root, selector) {
  const first = root.querySelector(selector);
  if (first instanceof HTMLElement) first.focus();
}

export function closeSheets() {
  for (const sheet of document.querySelectorAll('dialog')) sheet.close();
}
