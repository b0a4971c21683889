/** Keep the end of the conversation in view for as long as the person stays there. */

const NEAR = 48; // pixels from the end that a person who comes back need not find

/**
 * Follow the end of an element's content.
 *
 * Only a person moves up: growing content leaves the position where it is, and where
 * content or window shrink the browser moves it no further than to the end. A scroll event
 * comes a frame late, when the content may have grown again, so that being away from the
 * end says nothing by itself.
 *
 * @param {HTMLElement} area what scrolls
 * @param {HTMLElement} jump the button that leads back to the end
 * @param {() => boolean} active whether there is a conversation to follow
 */
export function createScroller(area, jump, active) {
  let following = true;
  let last = 0; // where it was when that was last looked at
  let isAway = false; // whether something else has been shown since

  const gap = () => area.scrollHeight - area.scrollTop - area.clientHeight;

  function toEnd() {
    following = true;
    area.scrollTop = area.scrollHeight;
    show();
  }

  /**
   * Show something from its beginning, and not what comes behind it.
   *
   * @param {HTMLElement} node
   */
  function reveal(node) {
    following = false;
    node.scrollIntoView({ block: 'start' });
    show();
  }

  function show() {
    if (active()) last = area.scrollTop;
    jump.hidden = following || !active() || gap() < NEAR;
  }

  function onResize() {
    if (!active()) isAway = true;
    else if (following) toEnd();
    else if (isAway) area.scrollTop = last;
    if (active()) isAway = false;
    show();
  }

  area.addEventListener('scroll', () => {
    if (!active()) return;
    const top = area.scrollTop;
    // Positions are fractions of a pixel where the page is zoomed.
    if (gap() < 1 || (top > last && gap() < NEAR)) following = true;
    else if (top < last) following = false;
    show();
  }, { passive: true });
  jump.addEventListener('click', () => {
    toEnd();
    area.focus({ preventScroll: true });
  });
  const resized = new ResizeObserver(onResize);
  for (const each of [area, ...area.children]) resized.observe(each);
  return { toEnd, reveal, isFollowing: () => following };
}
