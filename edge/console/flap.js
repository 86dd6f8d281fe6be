// Owns the split-flap look: a line of tiles, one a character, of which those that change flip. Knows
// nothing of what the text means.

const FLIP_MS = 170;
const STAGGER_MS = 14;

const calm = matchMedia('(prefers-reduced-motion: reduce)');

/** A fixed number of tiles, with the text beside them for those who do not see them. */
export class Flap {
  #tiles;
  #spoken;
  #text = '';

  constructor(length, className = '') {
    this.element = document.createElement('span');
    this.element.className = `flap ${className}`;
    this.#spoken = document.createElement('span');
    this.#spoken.className = 'spoken';
    const line = document.createElement('span');
    line.className = 'tiles';
    line.setAttribute('aria-hidden', 'true');
    this.#tiles = Array.from({ length }, () => line.appendChild(document.createElement('span')));
    this.element.append(this.#spoken, line);
  }

  /** Shows `text`; `delayMs` holds the flipping back, for waves over many lines. */
  show(text, { spoken = text, delayMs = 0, still = false } = {}) {
    if (text === this.#text && this.#spoken.textContent === spoken) return;
    this.#spoken.textContent = spoken;
    this.#text = text;
    const letters = text.toUpperCase();
    let flipped = 0;
    this.#tiles.forEach((tile, index) => {
      const letter = letters[index] ?? ' ';
      if (tile.textContent === letter || (letter === ' ' && tile.textContent === '')) return;
      tile.textContent = letter === ' ' ? '' : letter;
      if (!still) flip(tile, delayMs + STAGGER_MS * flipped++);
    });
  }
}

/** Tells by motion, or by light where motion is unwelcome, that `element` changed. */
function flip(element, delay) {
  if (calm.matches) return;
  element.animate(
    [
      { transform: 'perspective(260px) rotateX(-90deg)', filter: 'brightness(1.8)' },
      { transform: 'perspective(260px) rotateX(22deg)', filter: 'brightness(1.25)', offset: 0.7 },
      { transform: 'perspective(260px) rotateX(0)', filter: 'none' },
    ],
    { duration: FLIP_MS, delay, fill: 'backwards', easing: 'cubic-bezier(.3,.1,.3,1)' },
  );
}

/** Lets rows glide from where they were: `by` pixels above. */
export function glide(elements, by) {
  if (calm.matches || by === 0) return;
  for (const element of elements) {
    element.animate([{ transform: `translateY(${-by}px)` }, { transform: 'none' }], {
      duration: 240,
      easing: 'cubic-bezier(.2,.7,.2,1)',
    });
  }
}
