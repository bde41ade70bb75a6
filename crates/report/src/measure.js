// Put into a copy of a page by the tests: says what a reader would see, to the page around it.
const refused = [];
addEventListener('securitypolicyviolation', event => refused.push(event.blockedURI));
addEventListener('load', () => {
  document.querySelectorAll('details').forEach(element => { element.open = true; });
  const channels = colour => {
    const values = colour.match(/[\d.]+/g).map(Number);
    return values.length < 4 ? [...values, 1] : values;
  };
  // Relative luminance and contrast of the Web Content Accessibility Guidelines 2.1.
  const luminance = colour => [0.2126, 0.7152, 0.0722].reduce((sum, weight, index) => {
    const share = colour[index] / 255;
    return sum + weight * (share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4);
  }, 0);
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = channels(getComputedStyle(element).backgroundColor);
      if (colour[3] > 0) return colour;
    }
    return [255, 255, 255, 1];
  };
  let text = { ratio: 21, of: '' }, line = { ratio: 21, of: '' };
  const worse = (known, ratio, of) => ratio < known.ratio ? { ratio, of } : known;
  const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (nodes.nextNode()) {
    const element = nodes.currentNode.parentElement, words = nodes.currentNode.data.trim();
    if (!words || ['SCRIPT', 'STYLE', 'title'].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    text = worse(text, contrast(channels(element.closest('svg') ? style.fill : style.color), behind(element)), words);
  }
  document.querySelectorAll('svg polyline:not(.pale), svg .whisker').forEach(element => {
    const stroke = channels(getComputedStyle(element).stroke);
    line = worse(line, contrast(stroke, behind(element)), element.getAttribute('class') ?? '');
  });
  const root = document.documentElement;
  const found = {
    width: innerWidth,
    scroll_width: root.scrollWidth,
    dark: matchMedia('(prefers-color-scheme: dark)').matches,
    refused: [...refused, ...performance.getEntriesByType('resource').map(entry => entry.name)],
    text, line,
    smallest_chart_text: Math.min(...[...document.querySelectorAll('svg text')].map(element =>
      parseFloat(getComputedStyle(element).fontSize) * element.getScreenCTM().a)),
    broken_images: [...document.images].filter(image => !image.naturalWidth).map(image => image.alt),
    figures_without_caption: [...document.querySelectorAll('figure')]
      .filter(figure => !figure.querySelector('figcaption')?.textContent.trim()).length,
    torn_cells: [...document.querySelectorAll('td')]
      .filter(cell => cell.textContent.trim().length > 6 && cell.clientWidth < 48).map(cell => cell.textContent.trim()),
    overlapping: [...document.querySelectorAll('svg')].flatMap(chart => {
      const boxes = [...chart.querySelectorAll('text')].map(element => [element, element.getBoundingClientRect()]);
      const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
      return boxes.flatMap(([one, box], index) => boxes.slice(index + 1)
        .filter(([, other]) => meet(box, other)).map(([other]) => `${one.textContent} / ${other.textContent}`));
    }),
    numbers: [...document.querySelectorAll('[data-key]')].map(element => [
      element.closest('[data-source]')?.dataset.source ?? '',
      element.dataset.key, element.dataset.value, element.textContent,
    ]),
  };
  const coded = JSON.stringify(found).replace(/[<>&\u00a0]/g, character =>
    '\\u' + character.charCodeAt(0).toString(16).padStart(4, '0'));
  parent.postMessage(coded, '*');
});
