/** A page that stays connected to the engine: a number is edited, the engine runs again, the page shows what it found. */

import { effect, signal } from "@preact/signals";
import { render } from "preact";
import { useState } from "preact/hooks";
import { gunzip, parse } from "../model/decode";
import { Recording } from "../model/recording";
import { picked, recording, request, selected, step } from "../model/view";
import { Cell } from "../number";
import { contents } from "../panel/data";
import { show, turn } from "./swap";
import "./live.css";

const connected = signal(false);
const trouble = signal("");
const comparing = signal(false);
let before: Recording;
let now: Recording;
let say: (text: string) => void = () => {};
/** Whether an answer of the engine is overdue. */
const waiting = signal(false);

async function received(data: ArrayBuffer | string): Promise<void> {
  if (typeof data === "string") {
    const told = JSON.parse(data) as { error?: unknown; waiting?: boolean };
    waiting.value = told.waiting === true;
    if (!told.waiting) trouble.value = String(told.error ?? "");
    return;
  }
  waiting.value = false;
  trouble.value = "";
  now = new Recording(parse(await gunzip(new Uint8Array(data))));
  if (!comparing.peek()) show(now);
}

function connect(path: string): void {
  const made = new WebSocket(`ws://${location.host}${path}`);
  made.binaryType = "arraybuffer";
  made.onopen = () => (connected.value = true);
  made.onmessage = (event) => void received(event.data as ArrayBuffer | string);
  made.onclose = () => {
    connected.value = false;
    setTimeout(connect, 500, path);
  };
  say = (text) => made.send(text);
}

/** In the frame of a notebook the engine is reached through what is around the frame, which hands over a channel. */
function connectAround(): void {
  addEventListener("message", (event) => {
    const port = event.ports[0];
    if (event.source !== parent || event.data !== "backlit" || !port) return;
    port.onmessage = ({ data }) => void received(data as ArrayBuffer | string);
    say = (text) => port.postMessage(text);
    connected.value = true;
  });
  parent.postMessage("backlit ready", "*");
}

function send(message: object): void {
  if (connected.peek()) say(JSON.stringify(message));
}

function compare(on: boolean): void {
  comparing.value = on;
  show(on ? before : now);
}

function Editor({ node }: { node: number }) {
  void turn.value;
  const [element, setElement] = useState(0);
  const size = recording.node.number(node, "size");
  const row = recording.arrayRow(node, "value");
  const held = contents(row);
  const known = held?.full ? held.at(element) : NaN;
  const edit = (value: number) => {
    if (Number.isFinite(value)) send({ name: recording.name(node), element, value });
  };
  return (
    <form onSubmit={(e) => e.preventDefault()} onKeyDown={(e) => e.stopPropagation()}>
      <label>
        {recording.label(node)}[
        <input
          type="number"
          class="live-element"
          min={0}
          max={size - 1}
          value={element}
          aria-label={`element of ${recording.name(node)}, 0 to ${size - 1}`}
          onInput={(e) => setElement(Math.min(size - 1, Math.max(0, Math.trunc(Number(e.currentTarget.value)) || 0)))}
        />
        ]
      </label>
      <input
        type="number"
        class="live-value"
        step="any"
        aria-label={`new value of ${recording.name(node)}, element ${element}`}
        placeholder={Number.isFinite(known) ? String(known) : "new value"}
        onInput={(e) => e.currentTarget.value !== "" && edit(Number(e.currentTarget.value))}
      />
    </form>
  );
}

/** A number of an optimizer or module, to be set. */
function Settings() {
  void turn.value;
  const [name, setName] = useState("");
  const table = recording.table("setting");
  if (table.rows === 0) return null;
  const names = Array.from({ length: table.rows }, (_, row) => table.text(row, "name"));
  const row = Math.max(0, names.indexOf(name));
  return (
    <form class="live-setting" onSubmit={(e) => e.preventDefault()} onKeyDown={(e) => e.stopPropagation()}>
      <select aria-label="setting" value={names[row]!} onChange={(e) => setName(e.currentTarget.value)}>
        {names.map((n) => (
          <option key={n} value={n}>
            {n}
          </option>
        ))}
      </select>{" "}
      <Cell key={`${turn.value}:${row}`} table="setting" row={row} column="value" digits={6} />{" "}
      <input
        key={names[row]!}
        type="number"
        class="live-value"
        step="any"
        placeholder="new value"
        aria-label={`new value of ${names[row]}`}
        onInput={(e) => {
          const value = Number(e.currentTarget.value);
          if (e.currentTarget.value !== "" && Number.isFinite(value)) send({ setting: names[row]!, value });
        }}
      />
    </form>
  );
}

/** The loss of the step on show. */
function Loss() {
  const row = Math.min(step.value, recording.table("step").rows - 1);
  return row >= 0 && recording.table("step").has("loss") ? (
    <span class="live-loss">
      loss <Cell table="step" row={row} column="loss" />
    </span>
  ) : null;
}

function Bar() {
  const node = selected.value;
  const editable = node >= 0 && !comparing.value && ["parameter", "input"].includes(recording.kind(node));
  return (
    <section class={`live-bar${connected.value && !waiting.value ? "" : " lost"}`} aria-label="Live">
      <b role="status">{!connected.value ? "connection lost, trying again" : waiting.value ? "the kernel is busy or gone" : "live"}</b>
      {editable ? <Editor key={recording.name(node)} node={node} /> : <span>choose a parameter or an input to edit it</span>}
      {comparing.value ? null : <Settings />}
      <Loss key={turn.value} />
      <button type="button" onClick={() => send({ undo: true })}>
        undo
      </button>
      <button type="button" aria-pressed={comparing.value} onClick={() => compare(!comparing.value)}>
        {comparing.value ? "back to now" : "show before"}
      </button>
      {trouble.value ? <span role="alert">{trouble.value}</span> : null}
    </section>
  );
}

/** Connects, where the page was made to. */
export function startLive(): void {
  const path = document.getElementById("socket")?.textContent;
  if (!path) return;
  before = now = recording;
  const place = document.createElement("div");
  document.body.append(place);
  render(<Bar />, place);
  if (path === "parent") connectAround();
  else connect(path);
  // an element that is looked at is taken apart and nudged, though the recording has done so with others only
  effect(() => {
    const at = picked.value;
    if (at) send({ ask: recording.name(at.node), element: at.element });
  });
  effect(() => {
    if (request.value) send(request.value);
  });
}
