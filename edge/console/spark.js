// Owns a sparkline: up to three series of a minute in one small SVG. Knows nothing of what is measured.

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 240;
const HEIGHT = 48;
const PAD = 3;

export class Spark {
  #lines;
  #areas;
  #scale;

  /** `names`: one class a series, the first one filled. */
  constructor(host, names) {
    const svg = document.createElementNS(SVG, 'svg');
    svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('aria-hidden', 'true');
    const make = (element, name) => {
      const made = document.createElementNS(SVG, element);
      made.setAttribute('class', name);
      svg.append(made);
      return made;
    };
    this.#areas = names.map((name) => make('path', `area ${name}`));
    this.#lines = names.map((name) => make('path', `line ${name}`));
    this.#scale = document.createElement('span');
    this.#scale.className = 'scale';
    host.append(svg, this.#scale);
  }

  /** Draws series of equal length; `null` is a hole. `unit` goes with the scale's top. */
  draw(series, unit) {
    const most = Math.max(0, ...series.flat().filter((value) => value !== null));
    const top = roundUp(most);
    this.#scale.textContent = `${top}${unit}`;
    series.forEach((values, index) => {
      const runs = runsOf(values).map((run) => run.map((at) => `${x(at, values.length)},${y(values[at], top)}`));
      const ends = (run) => [run[0], run.at(-1)].map((point) => point.split(',')[0]);
      this.#lines[index].setAttribute('d', runs.map((run) => `M${run.join('L')}`).join(''));
      this.#areas[index].setAttribute('d', runs.map((run) => `M${ends(run)[0]},${HEIGHT}L${run.join('L')}L${ends(run)[1]},${HEIGHT}Z`).join(''));
    });
  }
}

/** The places of values without a hole between them, run by run. */
function runsOf(values) {
  const runs = [];
  values.forEach((value, at) => {
    if (value === null) return;
    if (at > 0 && values[at - 1] !== null) runs.at(-1).push(at);
    else runs.push([at]);
  });
  return runs;
}

function x(at, length) {
  return ((at / Math.max(1, length - 1)) * WIDTH).toFixed(1);
}

function y(value, top) {
  return (HEIGHT - PAD - (value / top) * (HEIGHT - 2 * PAD)).toFixed(1);
}

/** The next of 1, 2, 5, 10, 20, 50, … so that the scale does not jump about. */
export function roundUp(value) {
  if (value <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}
