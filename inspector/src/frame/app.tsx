// The application: toolbar, tree, graph, panels, time.

import { effect, signal } from "@preact/signals";
import { closeAll, laying, openAll, restructure, scene } from "../graph/client";
import { choices } from "../graph/colours";
import { fitNext, Graph, view } from "../graph/graph";
import { startPlayer } from "../model/play";
import {
  colourBy, colourScale, expanded, goTo, helpShown, playing, recording, selected, span, spoken, step, theme, time, version, widthBy,
} from "../model/view";
import { format } from "../number";
import { Panels } from "../panel";
import { Search, startSearch } from "../search/search";
import { Slider } from "../slider/slider";
import { Tree } from "../tree/tree";
import { Help } from "./help";
import { Icon } from "./icons";
import { startKeys } from "./keys";
import { Sweep } from "./sweep";
import { read, startPermalink, written } from "./permalink";
import { toggleTheme } from "./theme";

const wide = matchMedia("(min-width: 1100px)");
const treeShown = signal(wide.matches);
// the frame of a notebook gets its width after the page has begun
wide.addEventListener("change", () => {
  treeShown.value = wide.matches;
});

/** For scripts that look at the page from outside: what is drawn, and how long drawing took. Reads only. */
function expose(): void {
  (globalThis as unknown as Record<string, unknown>).inspector = {
    get time() {
      return time.value;
    },
    get selected() {
      return selected.value >= 0 ? recording.name(selected.value) : "";
    },
    get scene() {
      return laying.value ? null : scene.value;
    },
    get opened() {
      return [...expanded.value].map((m) => recording.modulePath(m));
    },
    get camera() {
      const { k, x, y } = view.camera!;
      return { k, x, y };
    },
    get frames() {
      return view.renderer!.frames;
    },
    /** Milliseconds of script of the latest drawing. */
    get took() {
      return view.renderer!.took.at(-1) ?? 0;
    },
    format,
    get playing() {
      return playing.value;
    },
    /** Where on the screen the box of a node is. */
    place(name: string) {
      const s = scene.value!;
      const b = s.boxOfNode[recording.find(name)] ?? -1;
      const { k, x, y } = view.camera!;
      const frame = view.renderer!.canvas.getBoundingClientRect();
      return b < 0 ? null : [frame.left + (s.x[b]! + s.w[b]! / 2) * k + x, frame.top + (s.y[b]! + s.h[b]! / 2) * k + y];
    },
    placeOfModule(path: string) {
      const s = scene.value!;
      for (let m = 0; m < recording.modules; m++) {
        const b = recording.modulePath(m) === path ? s.boxOfModule[m]! : -1;
        if (b < 0) continue;
        const { k, x, y } = view.camera!;
        const frame = view.renderer!.canvas.getBoundingClientRect();
        return [frame.left + (s.x[b]! + s.w[b]! / 2) * k + x, frame.top + (s.y[b]! + 12) * k + y];
      }
      return null;
    },
  };
}

/** Starts what runs beside the drawing; once, when the recording is there. */
export function start(): void {
  expose();
  goTo(span.value[1]);
  read(location.hash);
  restructure(); // the worker chooses how deep to open
  startSearch();
  startKeys();
  startPlayer();
  startPermalink();
  let shown = step.value;
  effect(() => {
    if (step.value === shown) return;
    // the same place within the other step
    const steps = recording.table("step");
    const offset = time.peek() - steps.number(shown, "event_from");
    const name = selected.peek() >= 0 ? recording.name(selected.peek()) : "";
    shown = step.value;
    goTo(span.peek()[0] + offset);
    selected.value = name ? sameName(name, shown) : -1;
    restructure();
  });
}

/** The node of another step with the same call path. */
function sameName(name: string, at: number): number {
  const steps = recording.table("step");
  for (let n = steps.number(at, "node_from"); n < steps.number(at, "node_to"); n++) if (recording.name(n) === name) return n;
  return -1;
}

export function App() {
  return (
    <div class={`app${treeShown.value ? "" : " no-tree"}`}>
      <Toolbar />
      {treeShown.value ? (
        <aside class="side" aria-label="Tree">
          <Tree />
        </aside>
      ) : null}
      <main class="stage">
        <Graph />
      </main>
      <aside class="panels" aria-label="Details">
        <Panels key={version.value} />
      </aside>
      <Sweep />
      <Slider />
      <Live />
      {helpShown.value ? <Help /> : null}
    </div>
  );
}

/** What the recording is called: its own title, or that of the page. */
export function titleOf(): string {
  const given = recording.info<string>("title") || document.title;
  return given === "backlit" ? "" : given;
}

function Toolbar() {
  const title = titleOf();
  const copyLink = async (): Promise<void> => {
    const link = `${location.href.split("#")[0]}#${written()}`;
    try {
      await navigator.clipboard.writeText(link);
      spoken.value = "link to this view copied";
    } catch {
      history.replaceState(null, "", `#${written()}`);
      spoken.value = "the address is the link to this view";
    }
  };
  const columns = choices();
  return (
    <header class="toolbar">
      <button
        type="button"
        class="plain"
        aria-pressed={treeShown.value}
        title="show or hide the tree of modules"
        aria-label="tree of modules"
        onClick={() => (treeShown.value = !treeShown.value)}
      >
        <Icon name="tree" />
      </button>
      <h1>
        <Mark /> <span class="brand">backlit</span> <span class="title">{title}</span>
      </h1>
      <Search />
      <label>
        <span class="quiet">colour</span>
        <select value={colourBy.value} onChange={(e) => (colourBy.value = e.currentTarget.value)} aria-label="colour of the boxes">
          <option value="time">what has happened</option>
          {columns.map((c) => (
            <option key={c.key} value={c.key}>
              {c.name}
            </option>
          ))}
        </select>
      </label>
      {colourBy.value !== "time" ? (
        <button
          type="button"
          aria-pressed={colourScale.value === "log"}
          title="logarithmic or linear scale"
          onClick={() => (colourScale.value = colourScale.value === "log" ? "linear" : "log")}
        >
          log
        </button>
      ) : null}
      <label>
        <span class="quiet">lines</span>
        <select
          value={widthBy.value}
          onChange={(e) => (widthBy.value = e.currentTarget.value as "none" | "norm" | "share")}
          aria-label="width of the lines"
        >
          <option value="norm">norm of the contribution</option>
          <option value="share">share of the gradient</option>
          <option value="none">all alike</option>
        </select>
      </label>
      <span class="spring" />
      <button type="button" title="open all modules (E)" aria-label="open all modules" disabled={laying.value} onClick={openAll}>
        <Icon name="open" />
      </button>
      <button
        type="button"
        title="close all modules (C)"
        aria-label="close all modules"
        onClick={() => {
          fitNext();
          closeAll();
        }}
      >
        <Icon name="shut" />
      </button>
      <button type="button" title="copy a link to this view" aria-label="copy a link to this view" onClick={copyLink}>
        <Icon name="link" />
      </button>
      <button type="button" title="light or dark (D)" aria-label="light or dark" onClick={toggleTheme}>
        <Icon name={theme.value === "dark" ? "sun" : "moon"} />
      </button>
      <button type="button" title="keys (?)" aria-label="help" onClick={() => (helpShown.value = true)}>
        <Icon name="help" />
      </button>
    </header>
  );
}

function Mark() {
  return (
    <svg class="mark" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
      <path d="M3 5.5h9.5a4.5 4.5 0 0 1 0 9H5" />
      <path class="head" d="M8 11.5 5 14.5l3 3" />
    </svg>
  );
}

/** What readers of screens are told; one place, politely. */
function Live() {
  return (
    <div class="visually-hidden" role="status" aria-live="polite">
      {spoken.value}
    </div>
  );
}
