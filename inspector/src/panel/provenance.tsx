/** Where the gradient of a parameter came from: shares that add to one across every cut from the loss. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { Sankey } from "../charts/sankey";
import type { Box, Link } from "../charts/sankey";
import { expanded, hovered, recording, reveal, select, selected, target } from "../model/view";
import { Cell, formatAs } from "../number";
import { elementText } from "./cell";
import { ShareBar } from "./contributions";
import { number, rowOf, text, where } from "./data";
import { shortName } from "./maths";
import { Paths } from "./paths";
import { Behind, Section } from "./section";
import { Tree } from "./tree";

function targetTitle(row: number): string {
  const title = text("provenance", row, "title");
  if (title) return title;
  const node = number("provenance", row, "target");
  const element = number("provenance", row, "element");
  return recording.name(node) + (element >= 0 ? elementText(node, element) : "");
}

/** What a box of the drawing is called. */
function boxLabel(box: number): string {
  const node = number("sankeybox", box, "node");
  if (node >= 0) return recording.kind(node) === "parameter" ? recording.name(node) : shortName(node);
  const module = number("sankeybox", box, "module");
  if (module === -2) return "nearer the loss";
  if (module === -3) return "nearer the target";
  const turn = number("sankeybox", box, "turn");
  const path = recording.modulePath(module) || recording.module.text(module, "name");
  const kind = recording.module.text(module, "class");
  return path + (/^[\d.]+$/.test(path) && kind ? ` ${kind}` : "") + (turn > 0 ? ` (${turn + 1})` : "");
}

function Flow({ row }: { row: number }) {
  const [within, setWithin] = useState(0);
  useEffect(() => setWithin(0), [row]);
  const views = where("sankey", "target", row);
  const view = views.find((r) => number("sankey", r, "within") === within) ?? views[0];
  const opened = useMemo(() => new Set(views.map((r) => number("sankey", r, "within"))), [row]);
  const [end, title] = [number("provenance", row, "target"), text("provenance", row, "title")];
  const label = (box: number) => (title && number("sankeybox", box, "node") === end ? title : boxLabel(box));
  const drawn = useMemo(() => {
    if (view === undefined) return null;
    const boxes: Box[] = [];
    const links: Link[] = [];
    const box = number("sankey", view, "box_start");
    for (let k = box; k < box + number("sankey", view, "box_count"); k++) {
      boxes.push({ id: k, row: number("sankeybox", k, "row"), label: label(k), share: number("sankeybox", k, "share") });
    }
    const link = number("sankey", view, "link_start");
    for (let k = link; k < link + number("sankey", view, "link_count"); k++) {
      links.push({ id: k, from: number("sankeylink", k, "from"), to: number("sankeylink", k, "to"), share: number("sankeylink", k, "share") });
    }
    return { boxes, links };
  }, [view]);
  if (view === undefined || !drawn) return <p class="quiet">The flow of this target was not recorded.</p>;
  const cuts = number("sankey", view, "cut_start");
  const cutCount = number("sankey", view, "cut_count");
  const opens = (box: Box) => {
    const module = number("sankeybox", box.id, "module");
    return module >= 0 && module !== within && opened.has(module);
  };
  const trail: number[] = [];
  for (let m = within; m > 0; m = recording.moduleParent(m)) if (opened.has(m)) trail.unshift(m);
  const chosen = drawn.boxes.find((box) => {
    const node = number("sankeybox", box.id, "node");
    return node >= 0 && node === selected.value;
  });
  return (
    <>
      <nav class="crumbs" aria-label="Opened module">
        <button type="button" class="link" onClick={() => setWithin(0)} aria-current={within === 0 ? "page" : undefined}>
          whole network
        </button>
        {trail.map((m) => (
          <span key={m}>
            {" › "}
            <button type="button" class="link" onClick={() => setWithin(m)} aria-current={m === within ? "page" : undefined}>
              {recording.modulePath(m) || recording.module.text(m, "name")}
            </button>
          </span>
        ))}
      </nav>
      <Sankey
        boxes={drawn.boxes}
        links={drawn.links}
        label={`Flow of the gradient from the loss to ${targetTitle(row)}`}
        cut={(r) =>
          r < cutCount ? (
            <span title="all shares that cross here, added: always one">
              Σ <Cell table="sankeycut" row={cuts + r} column="sum" digits={6} />
            </span>
          ) : null
        }
        boxTitle={(box) => `${box.label}: ${formatAs(box.share, "percent")}${opens(box) ? " (Enter opens it)" : ""}`}
        linkTitle={(link) => `${label(link.from)} to ${label(link.to)}: ${formatAs(link.share, "percent")}`}
        {...(chosen ? { selected: chosen.id } : {})}
        opens={opens}
        onOpen={(box) => setWithin(number("sankeybox", box.id, "module"))}
        onPick={(box) => {
          const node = number("sankeybox", box.id, "node");
          if (node >= 0) reveal(node);
          else expanded.value = new Set(expanded.value).add(number("sankeybox", box.id, "module"));
        }}
        onHover={(box) => (hovered.value = box ? number("sankeybox", box.id, "node") : -1)}
      />
      <p class="keys">
        <span>
          <i class="key along" /> towards the gradient
        </span>
        <span>
          <i class="key against" /> against it
        </span>
        <span class="quiet">⊕ opens</span>
      </p>
      <Behind title="The shares as a table">
        <table class="stats">
          <thead>
            <tr>
              <th scope="col">from</th>
              <th scope="col">to</th>
              <th scope="col">share</th>
            </tr>
          </thead>
          <tbody>
            {[...drawn.links].sort((a, b) => Math.abs(b.share) - Math.abs(a.share)).slice(0, 200).map((link) => (
              <tr key={link.id}>
                <th scope="row">{label(link.from)}</th>
                <td class="text">{label(link.to)}</td>
                <td>
                  <Cell table="sankeylink" row={link.id} column="share" unit="percent" />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Behind>
    </>
  );
}

/** The terms of the merges with the largest shares, one below the other. */
function Terms({ row }: { row: number }) {
  const start = number("provenance", row, "share_start");
  const merges = useMemo(() => {
    const end = start + number("provenance", row, "share_count");
    const found = new Map<number, number[]>();
    for (let k = start; k < end; k++) {
      const node = number("edge", number("provshare", k, "edge"), "from");
      found.set(node, [...(found.get(node) ?? []), k]);
    }
    const size = (k: number) => Math.abs(number("provshare", k, "share"));
    return [...found]
      .filter(([, rows]) => rows.length > 1)
      .map(([node, rows]) => ({ node, rows, most: [...rows].sort((a, b) => size(b) - size(a))[1]! }))
      .sort((a, b) => size(b.most) - size(a.most))
      .slice(0, 12);
  }, [row]);
  if (!(start >= 0) || merges.length === 0) return null;
  return (
    <Section title="Where paths meet on the way" note="the merges that matter most">
      <ul class="merges">
        {merges.map(({ node, rows }) => (
          <li key={node}>
            <button type="button" class="link" onClick={() => reveal(node)} title={recording.name(node)}>
              {recording.name(node)}
            </button>
            <table class="stats">
              <tbody>
                {rows.slice(0, 8).map((k) => {
                  const child = number("edge", number("provshare", k, "edge"), "to");
                  return (
                    <tr key={k}>
                      <th scope="row">from {shortName(child)}</th>
                      <td>
                        <ShareBar share={number("provshare", k, "share")} />
                      </td>
                      <td>
                        <Cell table="provshare" row={k} column="share" unit="percent" />
                      </td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </li>
        ))}
      </ul>
    </Section>
  );
}

/** The balance of every rule: which are wrong. */
export function Lamps() {
  const lamp = recording.table("lamp");
  const order = useMemo(() => {
    const rows = Array.from({ length: lamp.rows }, (_, i) => i);
    const size = (i: number) => {
      const residual = number("lamp", i, "residual");
      return Number.isNaN(residual) ? -1 : residual;
    };
    return rows.sort((a, b) => number("lamp", b, "guilty") - number("lamp", a, "guilty") || size(b) - size(a));
  }, []);
  if (!lamp.rows) return <Section title="Balance of the rules" empty="Not recorded." />;
  const guilty = order.filter((i) => number("lamp", i, "guilty") === 1);
  const shown = guilty.length ? guilty.slice(0, 50) : order.slice(0, 3);
  return (
    <Section title="Balance of the rules" note={`${lamp.rows} rules tested`}>
      <p class={guilty.length ? "alert bad" : "verdict"}>
        {guilty.length
          ? `✖ ${guilty.length === 1 ? "One rule gives" : `${guilty.length} rules give`} a wrong gradient.`
          : "✓ Every rule balances: what flows in equals what flows out."}
      </p>
      <table class="stats">
        <thead>
          <tr>
            <th scope="col">{guilty.length ? "wrong at" : "largest residuals"}</th>
            <th scope="col">residual</th>
          </tr>
        </thead>
        <tbody>
          {shown.map((i) => {
            const node = number("lamp", i, "node");
            return (
              <tr key={i} class={number("lamp", i, "guilty") === 1 ? "guilty" : ""}>
                <th scope="row">
                  <button type="button" class="link" onClick={() => reveal(node)} title={recording.name(node)}>
                    {recording.name(node)}
                  </button>{" "}
                  <span class="quiet">{recording.opName(node)}</span>
                </th>
                <td>
                  <Cell table="lamp" row={i} column="residual" digits={2} />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Section>
  );
}

export function ProvenancePanel() {
  const { rows } = recording.table("provenance");
  const wanted = target.value >= 0 ? target.value : selected.value;
  const found = rowOf("provenance", wanted, "target");
  const [last, setLast] = useState(0);
  // several rows may be about one value: its gradient, elements of it, its module
  const kept = last < rows && number("provenance", last, "target") === wanted;
  useEffect(() => {
    if (found >= 0 && !kept) setLast(found);
  }, [found, kept]);
  const row = found >= 0 && !kept ? found : Math.min(last, rows - 1);
  if (!rows) {
    return (
      <>
        <Section title="Where a gradient comes from" empty="Provenance was not recorded." />
        <Lamps />
      </>
    );
  }
  const node = number("provenance", row, "target");
  const note = text("provenance", row, "note");
  const whole = !(number("provenance", row, "element") >= 0) && !text("provenance", row, "title");
  return (
    <>
      <Section title="Where a gradient comes from">
        <label class="choose">
          <span>gradient of</span>
          <select
            value={row}
            onChange={(e) => {
              const to = Number(e.currentTarget.value);
              setLast(to);
              target.value = number("provenance", to, "target");
            }}
          >
            {Array.from({ length: rows }, (_, r) => (
              <option key={r} value={r}>
                {targetTitle(r)}
              </option>
            ))}
          </select>
          <button type="button" class="link" onClick={() => select(node)}>
            select it
          </button>
        </label>
        {note ? <p class="alert">▲ {note}</p> : null}
        <p class="quiet small">
          Every path from the loss carries a share of ‖g‖² = <Cell table="provenance" row={row} column="total" />. The shares add
          to one across every cut, here up to <Cell table="provenance" row={row} column="residual" digits={2} />.
        </p>
        <Flow row={row} />
      </Section>
      <Terms row={row} />
      {whole ? (
        <>
          <Tree target={node} />
          <Paths target={node} />
        </>
      ) : null}
      <Lamps />
    </>
  );
}

