// The graph: canvas, what the pointer does on it, breadcrumb, legend, minimap.

import { effect, useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import {
  breakpoints, colourBy, colourScale, hits, hovered, panel, recording, revealed, select, selected, selectedModule, theme,
  time, version, widthBy,
} from "../model/view";
import { Camera } from "./camera";
import { close, isOpen, laying, open, scene, toggle, toggleFold, tree, uncover } from "./client";
import { choices, colour, type Colouring } from "./colours";
import { Legend } from "./legend";
import { Minimap } from "./minimap";
import { Breadcrumb } from "./breadcrumb";
import { Renderer } from "./renderer";
import { Values } from "./values";
import { BOX, type Scene } from "./scene";
import { Icon } from "../frame/icons";

/** What other parts ask of the graph once it stands. */
export const view: { renderer: Renderer | null; camera: Camera | null } = { renderer: null, camera: null };

/** A point of the scene that stays where it is on the screen over the next layout. */
let anchor: { module: number; x: number; y: number } | null = null;
let toFit = true;
let toShow = -1;

function boxOf(s: Scene, module: number): number {
  const own = s.boxOfModule[module] ?? -1;
  if (own >= 0) return own;
  const h = tree.peek();
  const node = h ? h.order[h.start[module]!] : undefined;
  return node === undefined ? -1 : s.boxOfNode[node]!;
}

/** Keeps the module's title in place while its box changes. */
export function holdStill(module: number): void {
  const s = scene.peek();
  const camera = view.camera;
  const b = s ? boxOf(s, module) : -1;
  if (!s || !camera || b < 0) return;
  anchor = { module, x: (s.x[b]! + s.w[b]! / 2) * camera.k + camera.x, y: s.y[b]! * camera.k + camera.y };
}

export function toggleInPlace(module: number): void {
  holdStill(module);
  toggle(module);
}

export function openInPlace(module: number): void {
  holdStill(module);
  open(module);
}

export function closeInPlace(module: number): void {
  holdStill(module);
  close(module);
}

export function unfoldInPlace(first: number): void {
  holdStill(first);
  toggleFold(first);
}

export function fitNext(): void {
  toFit = true;
}

export function fit(): void {
  const s = scene.peek();
  if (s && view.camera) view.camera.fit({ x: 0, y: 0, w: s.width, h: s.height }, 0.01, 1.7);
}

/** The graph as it is in view, as a PNG. */
function picture(): void {
  view.renderer?.canvas.toBlob((blob) => {
    if (!blob) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "graph.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

export function Graph() {
  const canvas = useRef<HTMLCanvasElement>(null);
  const colouring = useSignal<Colouring | null>(null);
  const moved = useSignal(0);

  useLayoutEffect(() => {
    const element = canvas.current!;
    let hitBoxes: Set<number> | null = null;
    let shown = 0; // which wish to show a node was heard last
    const lamps = new Set<number>();
    const lamp = recording.table("lamp");
    for (let i = 0; i < lamp.rows; i++) if (lamp.number(i, "guilty") === 1) lamps.add(lamp.number(i, "node"));
    let camera: Camera;
    const renderer = new Renderer(
      element,
      () => camera,
      () => {
        const event = time.peek() - 1;
        return {
          time: time.peek(),
          eventNode: event >= 0 ? (recording.eventNode[event] ?? -1) : -1,
          eventEdge: event >= 0 ? (recording.eventEdge[event] ?? -1) : -1,
          selected: selected.peek(),
          selectedModule: selectedModule.peek(),
          hovered: hovered.peek(),
          hits: hitBoxes,
          breakpoints: breakpoints.peek(),
          widthBy: widthBy.peek(),
          colouring: colouring.peek(),
          lamps,
        };
      },
      () => {
        if (!scene.peek() || document.documentElement.dataset.painted) return;
        document.documentElement.dataset.painted = "true";
        performance.mark("inspector:painted");
      },
    );
    camera = new Camera(element, () => {
      renderer.invalidate();
      moved.value = moved.peek() + 1; // reading it here would tie every effect that moves the camera to its moves
    });
    view.renderer = renderer;
    view.camera = camera;
    const size = new ResizeObserver(() => renderer.resize());
    size.observe(element);
    renderer.resize();

    const stops = [
      effect(() => {
        const s = scene.value;
        if (!s) return;
        renderer.setScene(s);
        if (toFit) {
          const whole = { x: 0, y: 0, w: s.width, h: s.height };
          camera.fit(whole, 0.6, 1.7);
          toFit = false;
        } else if (anchor) {
          const b = boxOf(s, anchor.module);
          if (b >= 0) camera.set(camera.k, anchor.x - (s.x[b]! + s.w[b]! / 2) * camera.k, anchor.y - s.y[b]! * camera.k);
        }
        anchor = null;
        if (toShow >= 0) show(toShow);
      }),
      effect(() => {
        void [version.value, time.value, selected.value, selectedModule.value, hovered.value, breakpoints.value, widthBy.value];
        renderer.invalidate();
      }),
      effect(() => {
        void theme.value;
        renderer.restyle();
      }),
      effect(() => {
        const choice = choices().find((c) => c.key === colourBy.value);
        const s = scene.value;
        colouring.value = choice && s && tree.value ? colour(s, tree.value, choice, colourScale.value === "log") : null;
        renderer.invalidate();
      }),
      effect(() => {
        const s = scene.value;
        hitBoxes = hits.value && s ? new Set(hits.value.map((n) => s.boxOfNode[n]!)) : null;
        renderer.invalidate();
      }),
      effect(() => {
        const { node, turn } = revealed.value;
        // before the first scene nothing is opened yet that could be opened further
        if (node < 0 || turn === shown || !tree.value || !scene.value) return;
        shown = turn;
        toShow = node;
        if (!uncover(node)) show(node);
      }),
    ];
    function show(node: number): void {
      const s = scene.peek();
      const b = s ? s.boxOfNode[node]! : -1;
      if (!s || b < 0) return;
      toShow = -1;
      camera.show({ x: s.x[b]!, y: s.y[b]!, w: s.w[b]!, h: s.h[b]! });
    }
    return () => {
      stops.forEach((stop) => stop());
      size.disconnect();
    };
  }, []);

  const boxAt = (event: MouseEvent): number => {
    const { renderer, camera } = view;
    if (!renderer || !camera) return -1;
    return renderer.at(...camera.toScene(event.offsetX, event.offsetY));
  };
  const hover = (event: MouseEvent): void => {
    if (event.buttons) return;
    const b = boxAt(event);
    const s = scene.peek();
    const node = s && b >= 0 && s.kind[b] === BOX.node ? s.id[b]! : -1;
    hovered.value = node;
    canvas.current!.style.cursor = s && b >= 0 && s.kind[b] !== BOX.opened ? "pointer" : "default";
    canvas.current!.title = node >= 0 ? `${recording.name(node)} · ${recording.shape(node)} ${recording.dtype(node)}` : "";
  };
  const click = (event: MouseEvent): void => {
    if (view.camera?.dragged) return;
    const b = boxAt(event);
    const s = scene.peek();
    if (!s || b < 0) {
      select(-1);
      selectedModule.value = -1;
    } else if (s.kind[b] === BOX.node) {
      select(s.id[b]!);
      if (panel.value !== "provenance" && panel.value !== "tour") panel.value = "node";
    } else {
      select(-1);
      selectedModule.value = s.id[b]!;
    }
  };
  const doubleClick = (event: MouseEvent): void => {
    const b = boxAt(event);
    const s = scene.peek();
    if (!s || b < 0 || s.kind[b] === BOX.node) return;
    const module = s.id[b]!;
    if (s.kind[b] === BOX.fold) unfoldInPlace(module);
    else if (isOpen(module)) closeInPlace(module);
    else openInPlace(module);
  };
  return (
    <div class="graph">
      <canvas
        ref={canvas}
        role="img"
        aria-label="Graph of the computation. The tree of modules lists the same nodes."
        onMouseMove={hover}
        onMouseLeave={() => (hovered.value = -1)}
        onClick={click}
        onDblClick={doubleClick}
      />
      <Values moved={moved} />
      <Breadcrumb />
      <div class="zoom" role="group" aria-label="View of the graph">
        <button type="button" title="zoom in (+)" aria-label="zoom in" onClick={() => view.camera?.zoomBy(1.4)}>
          <Icon name="plus" />
        </button>
        <button type="button" title="zoom out (−)" aria-label="zoom out" onClick={() => view.camera?.zoomBy(1 / 1.4)}>
          <Icon name="minus" />
        </button>
        <button type="button" title="whole graph (0)" aria-label="whole graph" onClick={fit}>
          <Icon name="fit" />
        </button>
        <button type="button" title="save a picture of the graph" aria-label="save a picture of the graph" onClick={picture}>
          <Icon name="picture" />
        </button>
      </div>
      {laying.value ? <div class="laying">arranging …</div> : null}
      <Legend colouring={colouring.value} />
      <Minimap moved={moved} />
    </div>
  );
}
