// The modules and their nodes as a tree of the document: the same as the graph, for the keyboard and for readers of screens.

import { computed, effect, signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { closeInPlace, openInPlace, toggleInPlace, unfoldInPlace } from "../graph/graph";
import { tree } from "../graph/client";
import { items } from "../graph/hierarchy";
import { foldName } from "../graph/renderer";
import {
  expanded, hits, recording, reveal, revealed, select, selected, selectedModule, time, unfolded,
} from "../model/view";
import { deltaState, forwardDone } from "../model/state";

interface Row {
  /** The node, or -1. */
  node: number;
  module: number;
  count: number;
  level: number;
  open: boolean;
  /** Position among its siblings, and how many. */
  at: number;
  of: number;
}

const HEIGHT = 24;

/** The rows in order, as deep as opened. */
const rows = computed<Row[]>(() => {
  const h = tree.value;
  const list: Row[] = [];
  if (!h || !recording.modules) return list;
  const visit = (module: number, level: number): void => {
    const shown = items(h, module, unfolded.value);
    shown.forEach(({ child, count }, i) => {
      const at = { level, at: i + 1, of: shown.length };
      if (child >= 0) {
        list.push({ node: child, module: -1, count: 1, open: false, ...at });
        return;
      }
      const m = -1 - child;
      const open = count === 1 && expanded.value.has(m);
      list.push({ node: -1, module: m, count, open, ...at });
      if (open) visit(m, level + 1);
    });
  };
  visit(0, 1);
  return list;
});

const active = signal(0);

export function focusTree(): void {
  document.getElementById("tree")?.focus();
}

export function Tree() {
  const box = useRef<HTMLDivElement>(null);
  const top = useSignal(0);
  const high = useSignal(600);
  const list = rows.value;
  active.value = Math.max(0, Math.min(active.value, list.length - 1));

  useEffect(() => {
    const element = box.current!;
    const size = new ResizeObserver(() => (high.value = element.clientHeight));
    size.observe(element);
    const follow = (i: number): void => {
      active.value = i;
      const y = i * HEIGHT;
      if (y < element.scrollTop) element.scrollTop = y;
      else if (y + HEIGHT > element.scrollTop + element.clientHeight) element.scrollTop = y + HEIGHT - element.clientHeight;
    };
    const stop = effect(() => {
      void revealed.value;
      const [node, module] = [selected.value, selectedModule.value];
      const i = rows.value.findIndex((r) => (node >= 0 ? r.node === node : module >= 0 && r.module === module));
      if (i >= 0) follow(i);
    });
    return () => {
      stop();
      size.disconnect();
    };
  }, []);

  const choose = (row: Row): void => {
    if (row.node >= 0) reveal(row.node);
    else {
      select(-1);
      selectedModule.value = row.module;
    }
  };
  const move = (to: number): void => {
    const row = list[Math.max(0, Math.min(list.length - 1, to))];
    if (!row) return;
    active.value = list.indexOf(row);
    choose(row);
  };
  const keys = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = list[active.value];
    if (!row) return;
    const page = Math.max(1, Math.floor(high.value / HEIGHT) - 1);
    switch (event.key) {
      case "ArrowDown":
        move(active.value + 1);
        break;
      case "ArrowUp":
        move(active.value - 1);
        break;
      case "PageDown":
        move(active.value + page);
        break;
      case "PageUp":
        move(active.value - page);
        break;
      case "Home":
        move(0);
        break;
      case "End":
        move(list.length - 1);
        break;
      case "ArrowRight":
        if (row.node >= 0) break;
        if (row.count > 1) unfoldInPlace(row.module);
        else if (!row.open) openInPlace(row.module);
        else move(active.value + 1);
        break;
      case "ArrowLeft":
        if (row.open) closeInPlace(row.module);
        else {
          for (let i = active.value; i >= 0; i--) {
            if (list[i]!.level < row.level) {
              move(i);
              break;
            }
          }
        }
        break;
      case "Enter":
      case " ":
        if (event.key === " " && row.node >= 0) return;
        if (row.module >= 0) toggleInPlace(row.module);
        else choose(row);
        break;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const from = Math.max(0, Math.floor(top.value / HEIGHT) - 6);
  const to = Math.min(list.length, Math.ceil((top.value + high.value) / HEIGHT) + 6);
  const found = hits.value ? new Set(hits.value) : null;
  return (
    <div
      id="tree"
      class="modules"
      role="tree"
      aria-label="Modules and nodes"
      tabIndex={0}
      ref={box}
      aria-activedescendant={list.length && active.value >= from && active.value < to ? `row-${active.value}` : undefined}
      onKeyDown={keys}
      onScroll={(event) => (top.value = event.currentTarget.scrollTop)}
    >
      <div class="rows" role="none" style={{ height: `${list.length * HEIGHT}px` }}>
        {list.slice(from, to).map((row, k) => {
          const i = from + k;
          const chosen = row.node >= 0 ? row.node === selected.value : row.module === selectedModule.value;
          return (
            <div
              key={i}
              id={`row-${i}`}
              role="treeitem"
              class={`tree-row${chosen ? " chosen" : ""}${i === active.value ? " active" : ""}${found && row.node >= 0 && !found.has(row.node) ? " missed" : ""}`}
              aria-level={row.level}
              aria-setsize={row.of}
              aria-posinset={row.at}
              aria-selected={chosen}
              aria-expanded={row.node >= 0 ? undefined : row.open}
              style={{ top: `${i * HEIGHT}px`, paddingLeft: `${8 + (row.level - 1) * 14}px` }}
              onClick={() => {
                active.value = i;
                choose(row);
              }}
              onDblClick={() => row.module >= 0 && toggleInPlace(row.module)}
            >
              {row.node >= 0 ? <NodeRow node={row.node} /> : <ModuleRow row={row} />}
            </div>
          );
        })}
      </div>
    </div>
  );
}

function ModuleRow({ row }: { row: Row }) {
  const { module, count, open } = row;
  const h = tree.value!;
  const size = (h.end[module]! - h.start[module]!) * count;
  return (
    <>
      <button
        type="button"
        class={`row-twist${open ? " open" : ""}`}
        tabIndex={-1}
        aria-hidden="true"
        onClick={(event) => {
          event.stopPropagation();
          toggleInPlace(module);
        }}
      >
        <svg viewBox="0 0 16 16" width="12" height="12">
          <path d="M5.5 3.5 10 8l-4.5 4.5" />
        </svg>
      </button>
      <span class="row-name">{count > 1 ? foldName(module, count) : recording.module.text(module, "name")}</span>
      <span class="row-kind">{recording.module.text(module, "class")}</span>
      <span class="row-size">{size}</span>
    </>
  );
}

const SIGNS = ["parameter", "input", "constant", "op"];

function NodeRow({ node }: { node: number }) {
  return (
    <>
      <i class={`row-sign ${SIGNS[recording.nodeKind[node]!]}`} aria-hidden="true" />
      <span class="row-name">{recording.label(node)}</span>
      <span class="row-kind">{recording.kind(node) === "op" ? "" : recording.kind(node)}</span>
      <State node={node} />
    </>
  );
}

/** Where the node stands at the time, as a letter and a colour. */
function State({ node }: { node: number }) {
  const { state, arrived, of } = deltaState(node, time.value);
  if (state === "done") return <span class="row-state backward">δ</span>;
  if (state !== "none") return <span class="row-state backward">{`${arrived}/${of}`}</span>;
  if (recording.forwardEvent[node]! >= 0 && forwardDone(node, time.value)) return <span class="row-state forward">→</span>;
  return null;
}
