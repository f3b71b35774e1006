// Draws a scene on a canvas at a time: what is in view, as much of it as can be read, and only when something changed.

import Flatbush from "flatbush";
import { Event } from "../model/recording";
import { recording } from "../model/view";
import type { Camera } from "./camera";
import { type Colouring, shade } from "./colours";
import { EdgeStates } from "./edges";
import { BOX, type Scene, TITLE } from "./scene";
import { readPalette, type Palette } from "./palette";
import { deltaState, forwardDone, isSaved } from "../model/state";
import { countBefore } from "./counts";

export interface Look {
  time: number;
  /** The node and edge of the latest event. */
  eventNode: number;
  eventEdge: number;
  selected: number;
  selectedModule: number;
  hovered: number;
  hits: ReadonlySet<number> | null;
  breakpoints: ReadonlySet<number>;
  widthBy: "none" | "norm" | "share";
  colouring: Colouring | null;
  lamps: ReadonlySet<number>;
}

/** Below these scales: no text; no curves; no edges of a few pixels. */
const TEXT_AT = 0.42;
const CURVES_AT = 0.22;

export class Renderer {
  scene: Scene | null = null;
  private boxes: Flatbush | null = null;
  private segments: Flatbush | null = null;
  private edges: EdgeStates | null = null;
  private palette: Palette;
  private labels: string[] = [];
  private readonly context: CanvasRenderingContext2D;
  private wanted = 0;
  frames = 0;
  /** Milliseconds of script that the last frames took. */
  took: number[] = [];

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly camera: () => Camera,
    private readonly look: () => Look,
    private readonly drawn: () => void,
  ) {
    this.context = canvas.getContext("2d", { alpha: false })!;
    this.palette = readPalette();
  }

  setScene(scene: Scene): void {
    this.scene = scene;
    this.boxes = Flatbush.from(scene.boxIndex);
    this.segments = Flatbush.from(scene.segmentIndex);
    this.edges = new EdgeStates(scene);
    this.labels = new Array<string>(scene.boxes);
    this.invalidate();
  }

  restyle(): void {
    this.palette = readPalette();
    this.invalidate();
  }

  /** Draws before the next frame is shown, however often it is asked. */
  invalidate(): void {
    if (this.wanted) return;
    this.wanted = requestAnimationFrame(() => {
      this.wanted = 0;
      const begun = performance.now();
      this.draw();
      this.took.push(performance.now() - begun);
      if (this.took.length > 2000) this.took.splice(0, 1000);
      this.frames++;
      this.drawn();
    });
  }

  resize(): void {
    const ratio = Math.min(2, devicePixelRatio || 1);
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.canvas.width = Math.max(1, Math.round(w * ratio));
    this.canvas.height = Math.max(1, Math.round(h * ratio));
    this.invalidate();
  }

  /** The innermost box under a point of the scene, or -1. */
  at(x: number, y: number): number {
    if (!this.boxes || !this.scene?.boxes) return -1;
    return Math.max(-1, ...this.boxes.search(x, y, x, y));
  }

  private draw(): void {
    const { context: c, scene, palette } = this;
    const ratio = this.canvas.width / Math.max(1, this.canvas.clientWidth);
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.fillStyle = palette.ground;
    c.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!scene || !this.boxes || !this.segments || !this.edges) return;
    const camera = this.camera();
    c.setTransform(ratio * camera.k, 0, 0, ratio * camera.k, ratio * camera.x, ratio * camera.y);
    const { x, y, w, h } = camera.view();
    const look = this.look();
    const inView = scene.boxes ? this.boxes.search(x, y, x + w, y + h) : [];
    inView.sort((a, b) => a - b);
    const lines = scene.segments ? this.segments.search(x, y, x + w, y + h) : [];

    // opened modules lie below everything, then the lines, then what they join
    this.opened(inView, look);
    this.edges.draw(c, palette, lines, look, camera.k, camera.k >= CURVES_AT);
    this.marks(look, camera.k);
    if (camera.k < TEXT_AT) return this.far(inView, look);
    this.titles(inView);
    this.near(inView, look);
  }

  private opened(inView: readonly number[], look: Look): void {
    const { context: c, palette } = this;
    const scene = this.scene!;
    c.lineWidth = 1;
    for (const b of inView) {
      if (scene.kind[b] !== BOX.opened) continue;
      c.fillStyle = palette.container;
      c.strokeStyle = look.selectedModule === scene.id[b] ? palette.focus : palette.line;
      round(c, scene.x[b]!, scene.y[b]!, scene.w[b]!, scene.h[b]!, 8);
      c.fill();
      c.stroke();
    }
  }

  /** Names of opened modules, above the lines that enter there. */
  private titles(inView: readonly number[]): void {
    const { context: c, palette } = this;
    const scene = this.scene!;
    c.textAlign = "left";
    c.textBaseline = "middle";
    for (const b of inView) {
      if (scene.kind[b] !== BOX.opened) continue;
      const [x, y] = [scene.x[b]! + 10, scene.y[b]! + TITLE / 2 + 2];
      const name = this.label(b);
      const cls = recording.module.text(scene.id[b]!, "class");
      const shown = cls && cls !== name && cls.length < 16 ? cls : "";
      c.font = palette.titleFont;
      const w = c.measureText(name).width;
      c.font = palette.smallFont;
      const all = shown ? w + 6 + c.measureText(shown).width : w;
      c.fillStyle = palette.container;
      c.globalAlpha = 0.86;
      c.fillRect(x - 3, y - 8, all + 6, 16);
      c.globalAlpha = 1;
      c.fillStyle = palette.muted;
      if (shown) c.fillText(shown, x + w + 6, y + 0.5);
      c.fillStyle = palette.ink;
      c.font = palette.titleFont;
      c.fillText(name, x, y);
    }
  }

  /** From far away a box is a rectangle in the colour of its state, drawn by colour. */
  private far(inView: readonly number[], look: Look): void {
    const { context: c, palette } = this;
    const scene = this.scene!;
    const byColour = new Map<string, number[]>();
    for (const b of inView) {
      if (scene.kind[b] === BOX.opened) continue;
      const { line } = this.style(b, look);
      const list = byColour.get(line);
      if (list) list.push(b);
      else byColour.set(line, [b]);
    }
    for (const [colour, list] of byColour) {
      c.fillStyle = colour;
      c.beginPath();
      for (const b of list) c.rect(scene.x[b]!, scene.y[b]!, scene.w[b]!, scene.h[b]!);
      c.fill();
    }
    if (look.hits) this.dim(inView, look, palette);
  }

  private dim(inView: readonly number[], look: Look, palette: Palette): void {
    const c = this.context;
    const scene = this.scene!;
    c.fillStyle = palette.veil;
    c.beginPath();
    for (const b of inView) {
      if (scene.kind[b] === BOX.opened || look.hits!.has(b)) continue;
      c.rect(scene.x[b]! - 1, scene.y[b]! - 1, scene.w[b]! + 2, scene.h[b]! + 2);
    }
    c.fill();
  }

  /** Fill, line and ink of a box at the time. */
  private style(b: number, look: Look): { fill: string; line: string; ink: string } {
    const scene = this.scene!;
    const p = this.palette;
    const { time, colouring } = look;
    if (colouring) {
      const t = colouring.place[b]!;
      if (Number.isNaN(t)) return { fill: p.surface, line: p.line, ink: p.muted };
      const fill = shade(t);
      return { fill, line: fill, ink: t > 0.52 ? "#10151d" : "#ffffff" };
    }
    if (scene.kind[b] === BOX.node) {
      const node = scene.id[b]!;
      const delta = deltaState(node, time);
      if (delta.state === "done") return { fill: p.backwardSoft, line: p.backward, ink: p.ink };
      if (delta.state !== "none") return { fill: p.waiting, line: p.backward, ink: p.ink };
      if (recording.forwardEvent[node]! < 0) return { fill: p.given, line: p.lineStrong, ink: p.ink };
      if (forwardDone(node, time)) return { fill: p.forwardSoft, line: p.forward, ink: p.ink };
      return { fill: p.surface, line: p.line, ink: p.muted };
    }
    const done = countBefore(scene.completeds, scene.completedStart[b]!, scene.completedStart[b + 1]!, time);
    const all = scene.completedStart[b + 1]! - scene.completedStart[b]!;
    if (all && done === all) return { fill: p.backwardSoft, line: p.backward, ink: p.ink };
    if (done) return { fill: p.waiting, line: p.backward, ink: p.ink };
    const forwards = scene.forwardStart[b + 1]! - scene.forwardStart[b]!;
    const run = countBefore(scene.forwards, scene.forwardStart[b]!, scene.forwardStart[b + 1]!, time);
    if (run && run === forwards) return { fill: p.forwardSoft, line: p.forward, ink: p.ink };
    if (run) return { fill: p.surface, line: p.forward, ink: p.ink };
    return { fill: p.surface, line: p.line, ink: p.muted };
  }

  private near(inView: readonly number[], look: Look): void {
    const scene = this.scene!;
    for (const b of inView) {
      if (scene.kind[b] === BOX.opened) continue;
      if (scene.kind[b] === BOX.node) this.node(b, look);
      else this.module(b, look);
    }
    if (look.hits) this.dim(inView, look, this.palette);
  }

  private node(b: number, look: Look): void {
    const { context: c, palette: p } = this;
    const scene = this.scene!;
    const node = scene.id[b]!;
    const [x, y, w, h] = [scene.x[b]!, scene.y[b]!, scene.w[b]!, scene.h[b]!];
    const { fill, line, ink } = this.style(b, look);
    const kind = recording.nodeKind[node]!;
    c.fillStyle = fill;
    c.strokeStyle = line;
    c.lineWidth = 1.2;
    const scalar = h > 30; // the lower half is for its number
    const middle = scalar ? y + 13 : y + h / 2;
    round(c, x, y, w, h, kind === 3 ? 6 : 13);
    c.fill();
    if (kind === 2) c.setLineDash([3, 2]);
    c.stroke();
    c.setLineDash([]);
    if (kind === 0) {
      // a parameter carries a ring, as something that can be turned
      c.beginPath();
      c.arc(x + 12, middle, 3, 0, 7);
      c.lineWidth = 1.4;
      c.stroke();
    }
    c.fillStyle = ink;
    c.font = p.font;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText(this.label(b), x + w / 2 + (kind === 0 ? 5 : 0), middle + 0.5);
    if (isSaved(node, look.time)) {
      // kept for the backward pass
      c.fillStyle = p.saved;
      c.fillRect(x + w - 9, y + h - 7, 5, 4);
    }
    const { state, arrived, of } = deltaState(node, look.time);
    if (of > 1 && (state === "waiting" || state === "ready")) {
      this.badge(`${arrived}/${of}`, x + w, y, state === "ready");
    }
    const uses = recording.node.number(node, "uses");
    if (kind !== 3 && uses > 1 && state !== "waiting" && state !== "ready") this.note(`×${uses}`, x + w, y);
    if (look.breakpoints.has(node)) {
      c.fillStyle = p.bad;
      c.beginPath();
      c.arc(x, y + h / 2, 4, 0, 7);
      c.fill();
    }
    if (look.lamps.has(node)) this.lamp(x, y);
  }

  private lamp(x: number, y: number): void {
    const { context: c, palette: p } = this;
    c.fillStyle = p.bad;
    c.beginPath();
    c.arc(x + 2, y + 2, 6, 0, 7);
    c.fill();
    c.fillStyle = p.surface;
    c.font = p.badgeFont;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText("!", x + 2, y + 2.5);
  }

  private badge(text: string, right: number, top: number, full: boolean): void {
    const { context: c, palette: p } = this;
    const w = text.length * 6.2 + 9;
    c.fillStyle = full ? p.backward : p.surface;
    c.strokeStyle = p.backward;
    c.lineWidth = 1.2;
    round(c, right - w + 8, top - 9, w, 16, 8);
    c.fill();
    c.stroke();
    c.fillStyle = full ? p.surface : p.backward;
    c.font = p.badgeFont;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText(text, right - w / 2 + 8, top - 0.5);
  }

  private note(text: string, right: number, top: number): void {
    const { context: c, palette: p } = this;
    const w = text.length * 6.2 + 7;
    c.fillStyle = p.surface;
    c.strokeStyle = p.lineStrong;
    c.lineWidth = 1;
    round(c, right - w + 8, top - 8, w, 15, 7);
    c.fill();
    c.stroke();
    c.fillStyle = p.muted;
    c.font = p.badgeFont;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText(text, right - w / 2 + 8, top - 0.5);
  }

  private module(b: number, look: Look): void {
    const { context: c, palette: p } = this;
    const scene = this.scene!;
    const [x, y, w, h] = [scene.x[b]!, scene.y[b]!, scene.w[b]!, scene.h[b]!];
    const { fill, line, ink } = this.style(b, look);
    c.lineWidth = 1.2;
    c.strokeStyle = line;
    if (scene.kind[b] === BOX.fold) {
      for (const off of [6, 3]) {
        c.fillStyle = p.surface;
        round(c, x + off, y + off, w, h, 8);
        c.fill();
        c.stroke();
      }
    }
    c.fillStyle = fill;
    round(c, x, y, w, h, 8);
    c.fill();
    if (look.selectedModule === scene.id[b]) {
      c.strokeStyle = p.focus;
      c.lineWidth = 2.4;
    }
    c.stroke();
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillStyle = ink;
    c.font = p.titleFont;
    c.fillText(this.label(b), x + w / 2, y + 14);
    const m = scene.id[b]!;
    const forwards = scene.forwardStart[b + 1]! - scene.forwardStart[b]!;
    c.fillStyle = look.colouring ? ink : p.muted;
    c.font = p.smallFont;
    const cls = recording.module.text(m, "class");
    c.fillText(`${cls && cls.length < 16 ? `${cls} · ` : ""}${forwards} ${forwards === 1 ? "op" : "ops"}`, x + w / 2, y + 28);
    // how far forward and backward have come
    const all = scene.completedStart[b + 1]! - scene.completedStart[b]!;
    const run = countBefore(scene.forwards, scene.forwardStart[b]!, scene.forwardStart[b + 1]!, look.time);
    const done = countBefore(scene.completeds, scene.completedStart[b]!, scene.completedStart[b + 1]!, look.time);
    c.fillStyle = p.forward;
    if (forwards && run) c.fillRect(x + 8, y + h - 5, ((w - 16) * run) / forwards, 2);
    c.fillStyle = p.backward;
    const span = all ? ((w - 16) * done) / all : 0;
    if (span) c.fillRect(x + w - 8 - span, y + h - 5, span, 2);
  }

  /** Selection, hover and the latest event, above all. */
  private marks(look: Look, k: number): void {
    const { context: c, palette: p } = this;
    const scene = this.scene!;
    const ring = (node: number, colour: string, width: number, gap: number): void => {
      const b = node >= 0 ? scene.boxOfNode[node]! : -1;
      if (b < 0) return;
      c.strokeStyle = colour;
      c.lineWidth = width / Math.min(1, Math.max(k, 0.15));
      round(c, scene.x[b]! - gap, scene.y[b]! - gap, scene.w[b]! + 2 * gap, scene.h[b]! + 2 * gap, 9);
      c.stroke();
    };
    if (look.selected >= 0) this.edges!.along(c, look.selected, p.focus, k);
    if (look.hovered >= 0 && look.hovered !== look.selected) this.edges!.along(c, look.hovered, p.hover, k);
    if (look.eventEdge >= 0) this.edges!.mark(c, look.eventEdge, p.backward, k);
    ring(look.hovered, p.hover, 1.6, 2);
    const forwards = recording.eventKind[look.time - 1]! <= Event.save;
    ring(look.eventNode, forwards ? p.forward : p.backward, 2.2, 3);
    ring(look.selected, p.focus, 2.4, 3);
  }

  private label(b: number): string {
    const known = this.labels[b];
    if (known !== undefined) return known;
    const scene = this.scene!;
    const c = this.context;
    const id = scene.id[b]!;
    let text: string;
    if (scene.kind[b] === BOX.node) {
      text = recording.label(id);
      c.font = this.palette.font;
    } else {
      text = recording.module.text(id, "name");
      if (scene.kind[b] === BOX.fold) text = foldName(id, scene.count[b]!);
      c.font = this.palette.titleFont;
    }
    const room = scene.w[b]! - (scene.kind[b] === BOX.node && recording.nodeKind[id] === 0 ? 24 : 12);
    if (c.measureText(text).width > room) {
      while (text.length > 1 && c.measureText(`${text}…`).width > room) text = text.slice(0, -1);
      text += "…";
    }
    return (this.labels[b] = text);
  }
}

/** "h.0 … h.11 ×12" */
export function foldName(module: number, count: number): string {
  const siblings = recording.modulesIn(recording.moduleParent(module));
  const at = siblings.indexOf(module);
  const last = siblings[at + count - 1] ?? module;
  return `${recording.module.text(module, "name")} … ${recording.module.text(last, "name")}  ×${count}`;
}

function round(c: CanvasRenderingContext2D, x: number, y: number, w: number, h: number, r: number): void {
  c.beginPath();
  c.roundRect(x, y, w, h, Math.min(r, h / 2, w / 2));
}
