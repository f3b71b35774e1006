// The view as the address: event, node, panel, colours, question. Read at the start, written as it changes.

import { effect } from "@preact/signals";
import { readLimits, writtenLimits } from "../model/bands";
import { sweptFind, sweptName, sweptTo } from "../model/sweep";
import {
  colourBy, goTo, panel, type PanelName, query, recording, reveal, selected, selectedModule, span, step, target,
  time, widthBy,
} from "../model/view";

const PANEL_NAMES: readonly PanelName[] = ["node", "provenance", "flow", "memory", "training", "cost", "tour"];

/** Names rather than numbers where there are any: a link outlives a new recording of the same model. */
export function written(): string {
  const parts = new URLSearchParams();
  if (step.value) parts.set("step", String(step.value));
  parts.set("t", String(time.value - span.value[0]));
  if (selected.value >= 0) parts.set("n", recording.name(selected.value));
  if (selectedModule.value > 0) parts.set("m", recording.modulePath(selectedModule.value));
  if (panel.value !== "node") parts.set("p", panel.value);
  if (target.value >= 0) parts.set("g", recording.name(target.value));
  if (colourBy.value !== "time") parts.set("c", colourBy.value);
  if (widthBy.value !== "norm") parts.set("w", widthBy.value);
  if (query.value) parts.set("q", query.value);
  if (sweptTo.value >= 0) parts.set("v", sweptName(sweptTo.value));
  if (writtenLimits()) parts.set("b", writtenLimits());
  return parts.toString();
}

export function read(hash: string): void {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  const at = Number(parts.get("step") ?? 0);
  if (at > 0 && at < recording.table("step").rows) step.value = at;
  const t = parts.get("t");
  if (t !== null && Number.isFinite(Number(t))) goTo(span.value[0] + Number(t));
  const node = parts.get("n");
  if (node) reveal(recording.find(node));
  const module = parts.get("m");
  if (module) {
    for (let m = 1; m < recording.modules; m++) if (recording.modulePath(m) === module) selectedModule.value = m;
  }
  const name = parts.get("p") as PanelName | null;
  if (name && PANEL_NAMES.includes(name)) panel.value = name;
  const goal = parts.get("g");
  if (goal) target.value = recording.find(goal);
  colourBy.value = parts.get("c") ?? "time";
  const width = parts.get("w");
  if (width === "none" || width === "share") widthBy.value = width;
  query.value = parts.get("q") ?? "";
  sweptTo.value = sweptFind(parts.get("v") ?? "");
  readLimits(parts.get("b") ?? "");
}

export function startPermalink(): void {
  let due = 0;
  let known = location.hash; // what was read or written last: anything else is a wish of the reader's, about to be heard
  effect(() => {
    const text = `#${written()}`;
    clearTimeout(due);
    due = setTimeout(() => {
      if (location.hash !== known || known === text) return;
      try {
        history.replaceState(null, "", text);
        known = location.hash;
      } catch {
        // a frame in a notebook has no address of its own
      }
    }, 250) as unknown as number;
  });
  addEventListener("hashchange", () => {
    known = location.hash;
    if (known !== `#${written()}`) read(known);
  });
}
