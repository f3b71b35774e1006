// The whole graph in a corner, with what is in view; shown where the view is not the whole.

import type { Signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { theme } from "../model/view";
import { scene } from "./client";
import { view } from "./graph";
import { readPalette } from "./palette";
import { BOX } from "./scene";

const WIDE = 176;
const HIGH = 132;

export function Minimap({ moved }: { moved: Signal<number> }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const s = scene.value;
  const scale = s ? Math.min(WIDE / Math.max(1, s.width), HIGH / Math.max(1, s.height)) : 1;
  const [w, h] = s ? [Math.max(8, s.width * scale), Math.max(8, s.height * scale)] : [0, 0];

  useEffect(() => {
    const element = canvas.current;
    if (!element || !s) return;
    const ratio = Math.min(2, devicePixelRatio || 1);
    element.width = Math.ceil(w * ratio);
    element.height = Math.ceil(h * ratio);
    const c = element.getContext("2d")!;
    const p = readPalette();
    c.setTransform(ratio * scale, 0, 0, ratio * scale, 0, 0);
    c.fillStyle = p.container;
    c.fillRect(0, 0, s.width, s.height);
    c.fillStyle = p.lineStrong;
    c.globalAlpha = 0.55;
    c.beginPath();
    for (let b = 0; b < s.boxes; b++) if (s.kind[b] !== BOX.opened) c.rect(s.x[b]!, s.y[b]!, s.w[b]!, s.h[b]!);
    c.fill();
  }, [s, theme.value, w, h]);

  if (!s) return null;
  void moved.value;
  const seen = view.camera?.view();
  const inside = seen && seen.x <= 1 && seen.y <= 1 && seen.x + seen.w >= s.width - 1 && seen.y + seen.h >= s.height - 1;
  const go = (event: PointerEvent): void => {
    if (!event.buttons || !view.camera) return;
    const frame = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const [x, y] = [(event.clientX - frame.left) / scale, (event.clientY - frame.top) / scale];
    const { camera } = view;
    const v = camera.view();
    camera.set(camera.k, -(x - v.w / 2) * camera.k, -(y - v.h / 2) * camera.k);
  };
  return (
    <div
      class="minimap"
      hidden={!!inside}
      aria-hidden="true"
      style={{ width: `${w}px`, height: `${h}px` }}
      onPointerDown={go}
      onPointerMove={go}
    >
      <canvas ref={canvas} style={{ width: `${w}px`, height: `${h}px` }} />
      {seen ? (
        <div
          class="seen"
          style={{
            left: `${Math.max(0, seen.x * scale)}px`,
            top: `${Math.max(0, seen.y * scale)}px`,
            width: `${Math.max(3, Math.min(w, (seen.x + seen.w) * scale) - Math.max(0, seen.x * scale))}px`,
            height: `${Math.max(3, Math.min(h, (seen.y + seen.h) * scale) - Math.max(0, seen.y * scale))}px`,
          }}
        />
      ) : null}
    </div>
  );
}
