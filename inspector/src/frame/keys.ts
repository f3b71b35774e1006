// The keyboard of the whole page. Fields of text keep their keys; the tree and the tabs have their own.

import { fit, toggleInPlace, fitNext, view } from "../graph/graph";
import { closeAll, openAll } from "../graph/client";
import { backwardStart, forwardStart, stepBy, stepOfNode, stepOver, toggleBreakpoint, togglePlay } from "../model/play";
import {
  contribution, goTo, helpShown, panel, type PanelName, recording, selected, selectedModule, span, spoken, time, toggleHeatScale,
} from "../model/view";
import { describe } from "../model/describe";
import { goToFirstBad, moduleShown, stepInto } from "../slider/slider";
import { toggleTheme } from "./theme";

export interface Key {
  keys: string;
  does: string;
}

export const HELP: readonly Key[] = [
  { keys: "← →", does: "one event back, on" },
  { keys: "Shift + ← →", does: "previous, next event of the selected node" },
  { keys: "Home End", does: "first, last event" },
  { keys: "F B", does: "start of the forward pass, of the backward pass" },
  { keys: "Space", does: "play, pause" },
  { keys: "O I", does: "step over, into the module" },
  { keys: "X", does: "stop playing when δ of the selected node is complete" },
  { keys: "N", does: "first value that is not a number" },
  { keys: "[ ]", does: "previous, next contribution to the selected node's δ" },
  { keys: "Enter", does: "open or close the selected module" },
  { keys: "E C", does: "open all modules, close all" },
  { keys: "0 + −", does: "whole graph, zoom in, zoom out" },
  { keys: "Alt + arrows", does: "move the graph" },
  { keys: "/", does: "search" },
  { keys: "P G M T", does: "provenance, gradient flow, memory, training" },
  { keys: "L", does: "heatmaps by powers of ten or linear" },
  { keys: "D", does: "light or dark" },
  { keys: "?", does: "this list" },
];

const PANELS: Record<string, PanelName> = { p: "provenance", g: "flow", m: "memory", t: "training" };

function inText(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["range", "checkbox", "radio", "button"].includes(target.type);
  return target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

function contributionBy(by: 1 | -1): void {
  const node = selected.value;
  if (node < 0) return;
  const edges = recording.contributions(node);
  if (!edges.length) return;
  const at = edges.indexOf(contribution.value);
  const next = at < 0 ? (by > 0 ? 0 : edges.length - 1) : (at + by + edges.length) % edges.length;
  contribution.value = edges[next]!;
  spoken.value = `contribution ${next + 1} of ${edges.length}, from ${recording.name(recording.edgeTo[edges[next]!]!)}`;
}

function say(): void {
  spoken.value = describe(time.value).text;
}

function alt(event: KeyboardEvent): boolean {
  const d = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
  if (!d) return false;
  view.camera?.panBy(d[0]!, d[1]!);
  return true;
}

function plain(event: KeyboardEvent): boolean {
  const onButton = event.target instanceof HTMLButtonElement || event.target instanceof HTMLAnchorElement;
  switch (event.key) {
    case "ArrowLeft":
      event.shiftKey ? stepOfNode(-1) : stepBy(-1);
      say();
      return true;
    case "ArrowRight":
      event.shiftKey ? stepOfNode(1) : stepBy(1);
      say();
      return true;
    case "Home":
      goTo(span.value[0]);
      say();
      return true;
    case "End":
      goTo(span.value[1]);
      say();
      return true;
    case " ":
      if (onButton) return false;
      togglePlay();
      return true;
    case "Enter":
      if (onButton || selectedModule.value <= 0) return false;
      toggleInPlace(selectedModule.value);
      return true;
    case "[":
      contributionBy(-1);
      return true;
    case "]":
      contributionBy(1);
      return true;
    case "/":
      document.getElementById("search")?.focus();
      return true;
    case "?":
      helpShown.value = !helpShown.value;
      return true;
    case "Escape":
      if (!helpShown.value) return false;
      helpShown.value = false;
      return true;
    case "0":
      fit();
      return true;
    case "+":
    case "=":
      view.camera?.zoomBy(1.4);
      return true;
    case "-":
      view.camera?.zoomBy(1 / 1.4);
      return true;
  }
  const letter = event.key.toLowerCase();
  const named = PANELS[letter];
  if (named) {
    panel.value = named;
    return true;
  }
  switch (letter) {
    case "f":
      forwardStart();
      say();
      return true;
    case "b":
      backwardStart();
      say();
      return true;
    case "o":
      stepOver(moduleShown, event.shiftKey ? -1 : 1);
      say();
      return true;
    case "i":
      stepInto();
      say();
      return true;
    case "x":
      toggleBreakpoint(selected.value);
      return true;
    case "n":
      goToFirstBad();
      return true;
    case "e":
      openAll();
      return true;
    case "c":
      fitNext();
      closeAll();
      return true;
    case "l":
      toggleHeatScale();
      return true;
    case "d":
      toggleTheme();
      return true;
  }
  return false;
}

export function startKeys(): void {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || inText(event.target)) return;
    // boxes are ticked, and other sliders than that of the events move themselves
    if (event.key === " " && event.target instanceof HTMLInputElement && event.target.type === "checkbox") return;
    const range = event.target instanceof HTMLInputElement && event.target.type === "range" && event.target.id !== "slider";
    if (range && /^(Arrow|Home|End|Page)/.test(event.key)) return;
    if (event.altKey ? alt(event) : plain(event)) event.preventDefault();
  });
}
