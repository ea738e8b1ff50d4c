/** How wide text is on a terminal: in cells of one Latin letter. East Asian wide characters and emoji take two, marks none. */

const NARROW = /^[ -~]*$/;
const MARK = /^\p{M}$/u;
/** Unicode's East Asian Width W and F, by blocks. */
const WIDE =
  /^[\u1100-\u115f\u2329\u232a\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{16fe0}-\u{18fff}\u{1b000}-\u{1b2ff}\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]$|^\p{Emoji_Presentation}$/u;

const widthOfOne = (character: string): number => {
  if (NARROW.test(character)) return 1;
  if (MARK.test(character)) return 0;
  return WIDE.test(character) ? 2 : 1;
};

/** @param text on one line, without controls. */
export function textWidth(text: string): number {
  if (NARROW.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += widthOfOne(character);
  return width;
}

/** Cuts to so many cells, and says with `…` that it did. */
export function cutToWidth(text: string, width: number): string {
  if (textWidth(text) <= width) return text;
  if (width <= 0) return '';
  let [cut, used] = ['', 0];
  for (const character of text) {
    const more = widthOfOne(character);
    if (used + more > width - 1) break;
    cut += character;
    used += more;
  }
  return `${cut}…`;
}

/** Fills with spaces to so many cells; what is longer is cut. */
export function fitToWidth(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const cut = cutToWidth(text, width);
  const space = ' '.repeat(Math.max(0, width - textWidth(cut)));
  return align === 'left' ? `${cut}${space}` : `${space}${cut}`;
}
