/**
 * Shows above each table that is wider than its space that it scrolls sideways, and shades the
 * edges with more content behind them.
 */
export function hintOverflow() {
  document.querySelectorAll<HTMLElement>('.scroll:has(> table)').forEach((region, i) => {
    const hint = document.createElement('p');
    hint.id = `sideways-${i}`;
    hint.className = 'sideways';
    region.before(hint);
    const update = () => {
      const most = region.scrollWidth - region.clientWidth;
      const sides = [region.scrollLeft > 1 && 'left', region.scrollLeft < most - 1 && 'right'].filter((side) => side !== false);
      region.dataset.more = sides.join(' ');
      hint.hidden = most <= 1;
      if (hint.hidden) region.removeAttribute('aria-describedby');
      else region.setAttribute('aria-describedby', hint.id);
      const text = `Scroll sideways for more columns ${sides.includes('right') ? '→' : '←'}`;
      if (hint.textContent !== text) hint.textContent = text;
    };
    region.addEventListener('scroll', update, { passive: true });
    const observer = new ResizeObserver(update);
    observer.observe(region);
    observer.observe(region.firstElementChild!);
  });
}
