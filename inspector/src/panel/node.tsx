/** All about one node: its rule, its arrays, what met in its gradient, why it is kept. */

import { useEffect, useState } from "preact/hooks";
import { picked, recording, select, selected, selectedModule, target, panel } from "../model/view";
import { CellView } from "./cell";
import { Contributions } from "./contributions";
import { CopyButton } from "./copy";
import { argumentsOf, number } from "./data";
import { nearName, shortName } from "./maths";
import type { Factor } from "./maths";
import { Nudge } from "./nudge";
import { usePhase } from "./phase";
import { Rules, meaning } from "./rules";
import { WhySaved } from "./saved";
import { SourceView } from "./source";
import { Health, Statistics } from "./statistics";
import { Tensors } from "./tensors";

const KIND = { parameter: "parameter", input: "input", constant: "constant", op: "operation" } as const;

function State({ node }: { node: number }) {
  const { there, state, arrived, of } = usePhase(node);
  const gradient =
    state === "done" ? "gradient complete"
    : of === 0 && recording.completedEvent[node]! < 0 ? "no gradient"
    : state === "ready" ? `all ${of} terms of the gradient are in`
    : `gradient: ${arrived} of ${of} ${of === 1 ? "term" : "terms"}`;
  return (
    <p class="state">
      <span class={`dot ${there ? "forward" : "off"}`} /> {there ? "value computed" : "value not computed"}
      <span class={`dot ${state === "done" ? "backward" : arrived > 0 ? "part" : "off"}`} /> {gradient}
    </p>
  );
}

export function NodePanel() {
  const node = selected.value;
  const [lit, setLit] = useState<"value" | "delta" | null>(null);
  const chosen = picked.value?.node === node ? picked.value : null;
  const pick = (to: { which: "value" | "delta"; element: number }) => (picked.value = { node, ...to });
  useEffect(() => {
    const timer = setTimeout(() => setLit(null), 1600);
    return () => clearTimeout(timer);
  }, [node]);
  if (node < 0) return selectedModule.value >= 0 ? <ModulePanel module={selectedModule.value} /> : <Nothing />;
  const onFactor = (factor: Factor) => {
    const to = meaning(node, factor);
    if (to.node < 0) return;
    setLit(to.which);
    if (to.node !== node) select(to.node);
  };
  const name = recording.name(node);
  const op = recording.opName(node);
  const args = argumentsOf(node);
  const uses = recording.uses(node);
  return (
    <div class="node-panel">
      <header class="node-head">
        <p class="path">
          {name.split("/").map((part, i, all) => (
            <span key={i}>
              {part}
              {i < all.length - 1 ? <span class="quiet">/</span> : null}
              <wbr />
            </span>
          ))}
          <CopyButton text={`recording[${JSON.stringify(name)}]`} what="as Python" />
        </p>
        <h2>{shortName(node)}</h2>
        <p class="about">
          <span class={`kind ${recording.kind(node)}`}>{op || KIND[recording.kind(node)]}</span>
          <span>
            {recording.shape(node)} <span class="quiet">{recording.dtype(node)}</span>
          </span>
          {uses.length > 1 ? <span class="quiet">used {uses.length} times</span> : null}
          {recording.kind(node) === "parameter" && recording.has("provenance") ? (
            <button
              type="button"
              class="link"
              onClick={() => {
                target.value = node;
                panel.value = "provenance";
              }}
            >
              where its gradient comes from
            </button>
          ) : null}
        </p>
        <State node={node} />
        <Health node={node} />
        {args.length || uses.length ? (
          <nav class="neighbours" aria-label="Neighbours">
            {args.length ? <Neighbours title="from" nodes={args.map((e) => number("edge", e, "from"))} /> : null}
            {uses.length ? <Neighbours title="to" nodes={[...uses].map((e) => number("edge", e, "to"))} /> : null}
          </nav>
        ) : null}
      </header>
      <Rules node={node} onFactor={onFactor} />
      <Tensors
        node={node}
        lit={lit}
        picked={chosen}
        onPick={recording.has("cellview") || recording.has("nudge") ? (which, element) => pick({ which, element }) : undefined}
      />
      <Contributions node={node} />
      <CellView node={node} picked={chosen} onPick={pick} />
      <Nudge node={node} picked={chosen} onPick={pick} />
      <Statistics node={node} />
      <WhySaved node={node} />
      <SourceView node={node} />
    </div>
  );
}

function Neighbours({ title, nodes }: { title: string; nodes: number[] }) {
  const shown = [...new Set(nodes)].slice(0, 8);
  return (
    <p>
      <span class="quiet">{title} </span>
      {shown.map((n) => (
        <button key={n} type="button" class="chip" onClick={() => select(n)} title={recording.name(n)}>
          {nearName(n)}
        </button>
      ))}
      {nodes.length > shown.length ? <span class="quiet">and {nodes.length - shown.length} more</span> : null}
    </p>
  );
}

function Nothing() {
  if (recording.nodes === 0) {
    return (
      <div class="nothing">
        <p>Nothing was recorded: no operation ran on numbers that require a gradient.</p>
        <p class="quiet">
          Give the parameters <code>requires_grad=True</code>, and do not compute under <code>no_grad</code>.
        </p>
      </div>
    );
  }
  return (
    <div class="nothing">
      <p>Choose a node in the graph to see its rule, its numbers and its gradient.</p>
      <p class="quiet">
        The slider below the graph goes through every event: forward, then backward. <kbd>B</kbd> goes to where the backward
        pass begins.
      </p>
    </div>
  );
}

function ModulePanel({ module }: { module: number }) {
  const nodes: number[] = [];
  const collect = (m: number) => {
    for (const n of recording.nodesIn(m)) nodes.push(n);
    for (const inner of recording.modulesIn(m)) collect(inner);
  };
  collect(module);
  const parameters = nodes.filter((n) => recording.kind(n) === "parameter");
  const title = recording.modulePath(module) || recording.module.text(module, "name") || "everything";
  return (
    <div class="node-panel">
      <header class="node-head">
        <p class="path">{recording.module.text(module, "class")}</p>
        <h2>{title}</h2>
        <p class="about quiet">
          {nodes.length} nodes, {parameters.length} parameters
        </p>
      </header>
      {parameters.length ? (
        <section class="part">
          <header>
            <h3>Parameters</h3>
          </header>
          <table class="stats">
            <tbody>
              {parameters.slice(0, 40).map((n) => (
                <tr key={n}>
                  <th scope="row">
                    <button type="button" class="link" onClick={() => select(n)} title={recording.name(n)}>
                      {recording.name(n).slice(title.length && recording.name(n).startsWith(title) ? title.length + 1 : 0)}
                    </button>
                  </th>
                  <td>{recording.shape(n)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      ) : null}
    </div>
  );
}
