{
  /** Text whose contrast with what lies below it is under WCAG's AA. */
  lowContrast() {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const parse = (color) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      return [r, g, b, a / 255];
    };
    const over = (top, below) =>
      top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3]));
    const luminance = (rgb) => {
      const [r, g, b] = rgb.map((v) => {
        const s = v / 255;
        return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const background = (node) => {
      if (!node) return [255, 255, 255];
      const color = parse(getComputedStyle(node).backgroundColor);
      if (color[3] === 1) return color.slice(0, 3);
      return over(color, background(node.parentElement));
    };
    const judged = (node) => {
      const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
      const shown = node.checkVisibility({ visibilityProperty: true, opacityProperty: true });
      // What is switched off is exempt, and clipped text is for the ear.
      return own && shown && !node.closest(':disabled, .visually-hidden, .skip, noscript');
    };
    return [...document.querySelectorAll('body *')].filter(judged).map((node) => {
      const style = getComputedStyle(node);
      const below = background(node);
      const text = over(parse(style.color), below);
      const [dark, light] = [text, below].map(luminance).sort((a, b) => a - b);
      const ratio = (light + 0.05) / (dark + 0.05);
      const needed = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
      const label = `${node.tagName}.${node.className}: ${node.textContent.trim()}`;
      return { ratio, needed, label: label.slice(0, 60) };
    }).filter(({ ratio, needed }) => ratio < needed);
  },

  /** Controls that a screen reader could not name. */
  nameless() {
    const controls = 'button, input, select, textarea, a[href], summary, dialog, progress, '
      + '[role=region]';
    const text = (id) => document.getElementById(id)?.textContent;
    const name = (node) => [
      node.getAttribute('aria-label'),
      ...(node.getAttribute('aria-labelledby') ?? '').split(' ').map(text),
      ...[...(node.labels ?? [])].map((label) => label.textContent),
      ['BUTTON', 'A', 'SUMMARY'].includes(node.tagName) ? node.textContent : '',
    ].join('').trim();
    return [...document.querySelectorAll(controls)]
      .filter((node) => node.checkVisibility() && !name(node))
      .map((node) => node.outerHTML.slice(0, 120));
  },

  /** Names that more than one region has. */
  sameRegions() {
    const regions = [...document.querySelectorAll('[role=region], section[aria-label]')];
    const names = regions.filter((node) => node.checkVisibility())
      .map((node) => node.getAttribute('aria-label'));
    return names.filter((name, i) => names.indexOf(name) < i);
  },

  /** Ids that labels and descriptions refer to, and nothing has. */
  dangling() {
    const names = ['aria-labelledby', 'aria-describedby', 'for'];
    return [...document.querySelectorAll(names.map((name) => `[${name}]`).join())]
      .flatMap((node) => names.map((name) => node.getAttribute(name) ?? ''))
      .flatMap((value) => value.split(' ').filter(Boolean))
      .filter((id) => !document.getElementById(id));
  },

  /** How far the page is wider than its window. */
  tooWide() {
    const { scrollWidth, clientWidth } = document.documentElement;
    return scrollWidth > clientWidth ? [scrollWidth - clientWidth] : [];
  },

  /** Controls too small to be hit (WCAG 2.2: 24 pixels). */
  tooSmall() {
    const controls = 'button, summary, select, input:not(.visually-hidden)';
    return [...document.querySelectorAll(controls)]
      .filter((node) => node.checkVisibility())
      .filter((node) => {
        const { width, height } = node.getBoundingClientRect();
        return width < 24 || height < 24;
      })
      .map((node) => node.outerHTML.slice(0, 120));
  },
}
