/** The panels beside the graph, and the tabs that choose among them. */

import { signal } from "@preact/signals";
import { useRef, useState } from "preact/hooks";
import type { FunctionComponent } from "preact";
import { panel, recording, selected } from "../model/view";
import type { PanelName } from "../model/view";
import { CostPanel } from "./cost";
import { download, pictureOf, pngOf } from "./export";
import { FlowPanel } from "./flow";
import { MemoryPanel } from "./memory";
import { NodePanel } from "./node";
import { ProvenancePanel } from "./provenance";
import { TourPanel, TourStrip } from "./tour";
import { TrainingPanel } from "./training";
import "./panel.css";

interface Tab {
  readonly name: PanelName;
  readonly title: string;
  readonly view: FunctionComponent;
  readonly there: () => boolean;
}

const TABS: readonly Tab[] = [
  { name: "node", title: "Node", view: NodePanel, there: () => true },
  { name: "provenance", title: "Provenance", view: ProvenancePanel, there: () => true },
  { name: "flow", title: "Flow", view: FlowPanel, there: () => true },
  { name: "memory", title: "Memory", view: MemoryPanel, there: () => true },
  { name: "cost", title: "Time", view: CostPanel, there: () => recording.has("optime") },
  {
    name: "training",
    title: "Training",
    view: TrainingPanel,
    there: () => recording.has("series") || recording.table("step").rows > 1 || recording.has("update") || recording.has("example"),
  },
  { name: "tour", title: "Tour", view: TourPanel, there: () => recording.has("tour") },
];

/** Where a reader begins who asked for nothing: at the tour or the training that the page was made for. */
function begin(): void {
  if (panel.value !== "node" || selected.value >= 0 || /[#&](p|n|m)=/.test(location.hash)) return;
  if (recording.has("tour")) panel.value = "tour";
  else if (recording.has("series")) panel.value = "training";
}

const noteShown = signal(true);

/** What a reader has to know of the whole recording, such as that a compiled step was replayed. */
function Note() {
  const note = recording.info<string>("note");
  if (!note || !noteShown.value) return null;
  return (
    <p class="note-strip" role="note">
      <span>{note}</span>
      <button type="button" class="plain" aria-label="close the note" title="close" onClick={() => (noteShown.value = false)}>
        ×
      </button>
    </p>
  );
}

export function Panels() {
  useState(begin);
  const body = useRef<HTMLDivElement>(null);
  const tabs = TABS.filter((tab) => tab.there() || tab.name === panel.value);
  const chosen = tabs.find((tab) => tab.name === panel.value) ?? tabs[0]!;
  const View = chosen.view;
  const move = (event: KeyboardEvent) => {
    const at = tabs.indexOf(chosen);
    const to =
      event.key === "ArrowRight" ? tabs[(at + 1) % tabs.length]
      : event.key === "ArrowLeft" ? tabs[(at + tabs.length - 1) % tabs.length]
      : event.key === "Home" ? tabs[0]
      : event.key === "End" ? tabs.at(-1)
      : undefined;
    if (!to) return;
    event.preventDefault();
    event.stopPropagation();
    panel.value = to.name;
    document.getElementById(`tab-${to.name}`)?.focus();
  };
  const file = (kind: string) => `backlit-${chosen.name}.${kind}`;
  return (
    <div class="panel">
      <div class="tabs" role="tablist" aria-label="Panels" onKeyDown={move}>
        {tabs.map(({ name, title }) => (
          <button
            key={name}
            id={`tab-${name}`}
            type="button"
            role="tab"
            aria-selected={name === chosen.name}
            aria-controls="panel-body"
            tabIndex={name === chosen.name ? 0 : -1}
            onClick={() => (panel.value = name)}
          >
            {title}
          </button>
        ))}
      </div>
      <div
        class="panel-body"
        id="panel-body"
        role="tabpanel"
        aria-labelledby={`tab-${chosen.name}`}
        data-panel={chosen.name}
        tabIndex={0}
        ref={body}
      >
        {chosen.name === "node" || chosen.name === "tour" ? null : <h2 class="visually-hidden">{chosen.title}</h2>}
        <Note />
        <TourStrip />
        <View />
        <p class="panel-foot">
          <span class="quiet">this panel as</span>
          <button type="button" class="link" onClick={() => body.current && download(file("svg"), pictureOf(body.current), "image/svg+xml")}>
            SVG
          </button>
          <button type="button" class="link" onClick={async () => body.current && download(file("png"), await pngOf(body.current))}>
            PNG
          </button>
        </p>
      </div>
    </div>
  );
}
