// The colours of the page, for what is drawn on a canvas: the style sheet has them, in the light and in the dark.

export type Theme = {
  clients: string[];
  text: string;
  muted: string;
  faint: string;
  ground: string;
  lane: string;
  line: string;
  bad: string;
  badGround: string;
  good: string;
  warn: string;
  font: string;
};

export function readTheme(): Theme {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    clients: Array.from({ length: 8 }, (_, at) => read(`client-${at}`)),
    text: read('text'),
    muted: read('muted'),
    faint: read('faint'),
    ground: read('ground'),
    lane: read('lane'),
    line: read('line'),
    bad: read('bad'),
    badGround: read('bad-ground'),
    good: read('good'),
    warn: read('warn'),
    font: read('font'),
  };
}
