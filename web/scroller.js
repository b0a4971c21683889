/** Keep the end of the conversation in view for as long as the person stays there. */

const NEAR = 48;

/**
 * Follow the end of an element's content.
 *
 * @param {HTMLElement} area what scrolls
 * @param {HTMLElement} jump the button that leads back to the end
 * @param {() => boolean} active whether there is a conversation to follow
 */
export function createScroller(area, jump, active) {
  let following = true;

  const atEnd = () => area.scrollHeight - area.scrollTop - area.clientHeight < NEAR;
  const toEnd = () => {
    following = true;
    area.scrollTop = area.scrollHeight;
    jump.hidden = true;
  };

  area.addEventListener('scroll', () => {
    following = atEnd();
    jump.hidden = following || !active();
  }, { passive: true });
  jump.addEventListener('click', () => {
    toEnd();
    area.focus({ preventScroll: true });
  });
  const resized = new ResizeObserver(() => {
    if (!active()) jump.hidden = true;
    else if (following) area.scrollTop = area.scrollHeight;
    else jump.hidden = atEnd();
  });
  resized.observe(area.firstElementChild);
  resized.observe(area);
  return { toEnd };
}
