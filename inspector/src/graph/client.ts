// The page's side of the layout worker: sends what is opened, receives scenes.

import { signal } from "@preact/signals";
import source from "worker:graph/worker.ts";
import { expanded, recording, step, unfolded } from "../model/view";
import { type Hierarchy, hierarchy, type Structure } from "./hierarchy";
import { readPalette } from "./palette";
import type { Scene } from "./scene";
import type { Answer, Wish } from "./worker";

export const scene = signal<Scene | null>(null);
/** Is the layout of the newest wish still being made? */
export const laying = signal(false);
/** The modules with their nodes, of the step on show. */
export const tree = signal<Hierarchy | null>(null);

let worker: Worker | null = null;
let turn = 0;

function integers(numbers: ArrayLike<number>): Int32Array {
  return Int32Array.from(numbers);
}

/** Nodes of the step on show. */
export function nodeSpan(): [number, number] {
  const steps = recording.table("step");
  if (steps.rows <= 1 || !steps.has("node_from")) return [0, recording.nodes];
  return [steps.number(step.value, "node_from"), steps.number(step.value, "node_to")];
}

function structure(): Structure {
  const { node, edge, module } = recording;
  const { font, titleFont } = readPalette();
  const forms = new Map<string, number>();
  const form = new Int32Array(recording.nodes);
  const label = new Uint16Array(recording.nodes);
  const kinds = Uint8Array.from(recording.nodeKind);
  const scalar = new Uint8Array(recording.nodes);
  const op = node.numbers("op");
  for (let i = 0; i < recording.nodes; i++) {
    const key = `${op[i]} ${recording.dims(i)} ${node.text(i, "dtype")} ${node.text(i, "params")}`;
    let known = forms.get(key);
    if (known === undefined) forms.set(key, (known = forms.size));
    form[i] = known;
    scalar[i] = Number(recording.isScalar(i));
    label[i] = wide(recording.label(i), font) + (kinds[i] === 0 ? 12 : 0);
  }
  const classes = new Map<string, number>();
  const moduleClass = new Int32Array(recording.modules);
  const moduleLabel = new Uint16Array(recording.modules);
  for (let m = 0; m < recording.modules; m++) {
    const name = module.text(m, "class");
    if (!classes.has(name)) classes.set(name, classes.size);
    moduleClass[m] = classes.get(name)!;
    moduleLabel[m] = Math.max(wide(module.text(m, "name"), titleFont), name.length < 16 ? name.length * 5.6 + 55 : 55);
  }
  return {
    nodeKind: kinds,
    nodeModule: integers(recording.nodeModule),
    nodeForm: form,
    nodeLabel: label,
    nodeScalar: scalar,
    moduleLabel,
    moduleParent: recording.parents,
    moduleClass,
    edgeFrom: integers(recording.edgeFrom),
    edgeTo: integers(recording.edgeTo),
    edgeArgnum: integers(edge.numbers("argnum")),
    forwardEvent: integers(recording.forwardEvent),
    completedEvent: integers(recording.completedEvent),
    nodes: nodeSpan(),
  };
}

const context = document.createElement("canvas").getContext("2d")!;
const widths = new Map<string, number>();

/** Width of a text in pixels; the few different labels are measured once. */
function wide(text: string, font: string): number {
  const key = `${font} ${text}`;
  let known = widths.get(key);
  if (known === undefined) {
    context.font = font;
    widths.set(key, (known = Math.ceil(context.measureText(text).width)));
  }
  return known;
}

function post(wish: Wish): void {
  worker!.postMessage(wish);
}

/** Starts the worker: before the recording is read, since both take their time. */
export function startWorker(): void {
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  worker = new Worker(address);
  worker.onmessage = ({ data }: MessageEvent<Answer>) => {
    if (data.scene.turn !== turn) return;
    if (!expanded.peek().size) expanded.value = new Set(data.opened);
    laying.value = false;
    scene.value = data.scene;
  };
  worker.onerror = (event) => {
    throw new Error(`layout: ${event.message}`);
  };
}

/** The names of the modules from the outermost one inwards: equal in every step. */
function chain(module: number): string {
  const names: string[] = [];
  for (let m = module; m > 0; m = recording.moduleParent(m)) names.unshift(recording.module.text(m, "name"));
  return names.join("\n");
}

/** For the first, or another step of the recording: what was opened there is opened here. */
export function restructure(): void {
  const made = structure();
  post({ kind: "structure", structure: made });
  laying.value = true;
  const h = hierarchy(made);
  if (expanded.peek().size) {
    const here = new Map<string, number>();
    for (let m = 0; m < recording.modules; m++) if (m === 0 || h.end[m]! > h.start[m]!) here.set(chain(m), m);
    const moved = (all: ReadonlySet<number>): Set<number> => {
      const found = [...all].map((m) => here.get(chain(m)) ?? -1);
      return new Set(found.filter((m) => m >= 0));
    };
    expanded.value = moved(expanded.peek());
    unfolded.value = moved(unfolded.peek());
  }
  const opened = expanded.peek();
  post({ kind: "scene", turn: ++turn, opened: opened.size ? [...opened] : null, unfolded: [...unfolded.peek()] });
  tree.value = h;
}

export function relayout(): void {
  laying.value = true;
  post({ kind: "scene", turn: ++turn, opened: [...expanded.peek()], unfolded: [...unfolded.peek()] });
}

function change(opened: Set<number>, shown: Set<number> = new Set(unfolded.peek())): void {
  expanded.value = opened;
  unfolded.value = shown;
  relayout();
}

export function open(module: number): void {
  change(new Set(expanded.peek()).add(module));
}

/** Closes a module and what is opened in it. */
export function close(module: number): void {
  const opened = new Set(expanded.peek());
  for (const m of expanded.peek()) {
    for (let up = m; up > 0; up = recording.moduleParent(up)) if (up === module) opened.delete(m);
  }
  change(opened);
}

export function isOpen(module: number): boolean {
  return expanded.value.has(module);
}

/** The first module of the fold that `module` belongs to, and how many; count 1 where it is in none. */
export function foldOf(module: number): { first: number; count: number } {
  const h = tree.peek()!;
  const parent = recording.moduleParent(module);
  if (parent < 0) return { first: module, count: 1 };
  const list = h.children[parent]!;
  let at = list.indexOf(-1 - module);
  const form = h.form[module];
  while (at > 0 && list[at - 1]! < 0 && h.form[-1 - list[at - 1]!] === form) at--;
  const first = -1 - list[at]!;
  let count = 0;
  while (at < list.length && list[at]! < 0 && h.form[-1 - list[at]!] === form) {
    at++;
    count++;
  }
  return { first, count: count >= 3 ? count : 1 };
}

export function toggleFold(first: number): void {
  const shown = new Set(unfolded.peek());
  const opened = new Set(expanded.peek());
  if (!shown.delete(first)) shown.add(first);
  change(opened, shown);
}

export function toggle(module: number): void {
  if (module <= 0) return;
  const fold = foldOf(module);
  if (fold.count > 1 && !unfolded.peek().has(fold.first)) toggleFold(fold.first);
  else if (expanded.peek().has(module)) close(module);
  else open(module);
}

export function openAll(): void {
  const h = tree.peek()!;
  const opened = new Set<number>();
  const shown = new Set<number>();
  for (let m = 0; m < recording.modules; m++) {
    if (h.end[m]! === h.start[m]!) continue;
    opened.add(m);
    shown.add(m);
  }
  change(opened, shown);
}

export function closeAll(): void {
  change(new Set([0]), new Set());
}

/** Opens what hides a node. True if something had to be opened. */
export function uncover(node: number): boolean {
  const opened = new Set(expanded.peek());
  const shown = new Set(unfolded.peek());
  let changed = false;
  for (let m = recording.nodeModule[node]!; m > 0; m = recording.moduleParent(m)) {
    if (!opened.has(m)) changed = !!opened.add(m);
    const { first, count } = foldOf(m);
    if (count > 1 && !shown.has(first)) changed = !!shown.add(first);
  }
  if (changed) change(opened, shown);
  return changed;
}
