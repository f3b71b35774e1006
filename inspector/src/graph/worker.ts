// The layout worker: holds the structure of the recording, makes scenes of what is opened. The newest wish wins.

import { type Hierarchy, hierarchy, openedAtFirst, type Structure } from "./hierarchy";
import { build, type Memo, type Scene, transferable } from "./scene";

export type Wish =
  | { kind: "structure"; structure: Structure }
  | { kind: "scene"; turn: number; opened: number[] | null; unfolded: number[] };

export type Answer = { kind: "scene"; scene: Scene; opened: number[]; took: number };

const scope = self as unknown as { onmessage: ((e: MessageEvent<Wish>) => void) | null; postMessage(a: Answer, t: Transferable[]): void };
let structure: Structure;
let tree: Hierarchy;
let newest = 0;
let memo: Memo = new Map();

class Overtaken extends Error {}

// a message channel's turn lets new wishes in without the four milliseconds of a timer
const channel = new MessageChannel();
const pause = (): Promise<void> =>
  new Promise((resolve) => {
    channel.port1.onmessage = () => resolve();
    channel.port2.postMessage(0);
  });

scope.onmessage = ({ data }) => {
  if (data.kind === "structure") {
    structure = data.structure;
    tree = hierarchy(structure);
    memo = new Map();
  } else {
    newest = data.turn;
    void answer(data);
  }
};

async function answer(wish: Extract<Wish, { kind: "scene" }>): Promise<void> {
  const begun = performance.now();
  let last = begun;
  const pace = {
    async breathe(): Promise<void> {
      if (performance.now() - last < 16) return;
      await pause();
      if (newest !== wish.turn) throw new Overtaken();
      last = performance.now();
    },
  };
  const opened = wish.opened ?? openedAtFirst(structure, tree);
  try {
    const scene = await build(structure, tree, new Set(opened), new Set(wish.unfolded), memo, pace, wish.turn);
    scope.postMessage({ kind: "scene", scene, opened, took: performance.now() - begun }, transferable(scene));
  } catch (error) {
    if (!(error instanceof Overtaken)) throw error;
  }
}
