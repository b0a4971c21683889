/** Elements of the page: finding and making them. */

export const find = (id) => document.getElementById(id);

/** Make an element with a class and text. */
export function element(tag, className = '', text = '') {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

/** Make a button; a form's own are in index.html. */
export function button(text, className, onClick) {
  const node = element('button', className, text);
  node.type = 'button';
  node.addEventListener('click', onClick);
  return node;
}

/** Make a row of a `dl`: a name and a value, and perhaps what it means. */
export function fact(name, value, detail = '') {
  const row = element('div');
  const shown = element('dd', '', value);
  if (detail) shown.append(element('span', 'detail', ` ${detail}`));
  row.append(element('dt', '', name), shown);
  return row;
}

export function closeSheets() {
  for (const sheet of document.querySelectorAll('dialog[open]')) sheet.close();
}
