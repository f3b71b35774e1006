/** What has happened to a node by now; a part that asks is drawn again only when the answer changes. */

import { computed } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { deltaState, forwardDone } from "../model/state";
import type { DeltaState } from "../model/state";
import { time } from "../model/view";

export interface Phase extends DeltaState {
  /** Has the value been computed? */
  readonly there: boolean;
}

export function usePhase(node: number): Phase {
  const phase = useMemo(() => {
    let last: Phase | undefined;
    return computed(() => {
      const there = forwardDone(node, time.value);
      const { state, arrived, of } = deltaState(node, time.value);
      if (!last || last.there !== there || last.state !== state || last.arrived !== arrived) last = { there, state, arrived, of };
      return last;
    });
  }, [node]);
  return phase.value;
}
