// The canvas takes its colours from the style sheet, so that there is one place for both themes.

export interface Palette {
  ground: string;
  surface: string;
  container: string;
  given: string;
  ink: string;
  muted: string;
  line: string;
  lineStrong: string;
  forward: string;
  forwardSoft: string;
  backward: string;
  backwardSoft: string;
  waiting: string;
  saved: string;
  bad: string;
  focus: string;
  hover: string;
  edge: string;
  veil: string;
  font: string;
  titleFont: string;
  smallFont: string;
  badgeFont: string;
}

export function readPalette(): Palette {
  const style = getComputedStyle(document.documentElement);
  const get = (name: string): string => style.getPropertyValue(name).trim();
  const sans = get("--sans");
  return {
    ground: get("--ground"),
    surface: get("--surface"),
    container: get("--container"),
    given: get("--given"),
    ink: get("--ink"),
    muted: get("--muted"),
    line: get("--line-strong"),
    lineStrong: get("--muted"),
    forward: get("--forward"),
    forwardSoft: get("--forward-soft"),
    backward: get("--backward"),
    backwardSoft: get("--backward-soft"),
    waiting: get("--waiting"),
    saved: get("--saved"),
    bad: get("--bad"),
    focus: get("--focus"),
    hover: get("--muted"),
    edge: get("--edge"),
    veil: get("--veil"),
    font: `12px ${sans}`,
    titleFont: `600 12px ${sans}`,
    smallFont: `10.5px ${sans}`,
    badgeFont: `600 10px ${sans}`,
  };
}
