// Builds the page's program and style into the Python package: one classic script, one style sheet, the licences.

import { build } from "esbuild";
import { readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { gzipSync } from "node:zlib";

const here = import.meta.dirname;
const target = path.join(here, "../src/backlit/inspector/_static");
const FONTS = ["Main-Regular", "Math-Italic", "Size1-Regular", "Size2-Regular", "Size3-Regular", "Size4-Regular"];
const LIMITS = { raw: 900_000, gzip: 320_000 };
const inputs = new Set();

const common = {
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  metafile: true,
  write: false,
  absWorkingDir: here,
  jsx: "automatic",
  jsxImportSource: "preact",
  loader: { ".woff2": "dataurl" },
};

// the layout worker travels as text inside the program: from a file: address only a blob can be a worker
const worker = {
  name: "worker",
  setup(b) {
    b.onResolve({ filter: /^worker:/ }, (a) => ({ path: path.join(here, "src", a.path.slice(7)), namespace: "worker" }));
    b.onLoad({ filter: /.*/, namespace: "worker" }, async (a) => {
      const made = await build({ ...common, entryPoints: [a.path] });
      Object.keys(made.metafile.inputs).forEach((i) => inputs.add(i));
      return { contents: made.outputFiles[0].text, loader: "text" };
    });
  },
};

// KaTeX with the fonts that the formulas need, each once
const fonts = {
  name: "fonts",
  setup(b) {
    b.onLoad({ filter: /katex\.css$/ }, async (a) => {
      const css = (await readFile(a.path, "utf8")).replace(/@font-face\s*\{[^}]*\}/g, (face) => {
        const name = /KaTeX_([\w-]+)\.woff2/.exec(face)?.[1];
        if (!FONTS.includes(name)) return "";
        return face.replace(/src:[^;}]*/, `src: url(fonts/KaTeX_${name}.woff2) format("woff2")`);
      });
      return { contents: css, loader: "css" };
    });
  },
};

const made = await build({ ...common, entryPoints: ["src/main.tsx"], outdir: "out", plugins: [worker, fonts] });
Object.keys(made.metafile.inputs).forEach((i) => inputs.add(i));
const widget = await build({ ...common, format: "esm", entryPoints: ["src/widget.ts"], outdir: "out" });
const find = (end) => made.outputFiles.find((f) => f.path.endsWith(end)).text;
const script = find(".js").replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--");
const style = find(".css").replaceAll("</style", "<\\/style");

const packages = new Set();
for (const input of inputs) {
  const parts = input.split("node_modules/").at(-1).split("/");
  if (input.includes("node_modules/")) packages.add(parts[0].startsWith("@") ? parts.slice(0, 2).join("/") : parts[0]);
}
let licences = "The inspector's page contains these libraries.\n";
for (const name of [...packages].sort()) {
  const folder = path.join(here, "node_modules", name);
  const { version, license } = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
  const file = (await readdir(folder)).sort().find((f) => /^licen[cs]e/i.test(f));
  const text = file ? (await readFile(path.join(folder, file), "utf8")).replaceAll("\r\n", "\n").trim() : "";
  licences += `\n${"-".repeat(80)}\n${name} ${version} (${license})\n\n${text}\n`;
}

await writeFile(path.join(target, "inspector.js"), script);
await writeFile(path.join(target, "inspector.css"), style);
await writeFile(path.join(target, "widget.js"), widget.outputFiles[0].text);
await writeFile(path.join(target, "LICENCES.txt"), licences);

const raw = Buffer.byteLength(script) + Buffer.byteLength(style);
const gzip = gzipSync(script, { level: 9 }).length + gzipSync(style, { level: 9 }).length;
console.log(`inspector: ${(raw / 1000).toFixed(0)} kB, ${(gzip / 1000).toFixed(0)} kB gzip`);
if (raw > LIMITS.raw || gzip > LIMITS.gzip) throw new Error("the page's program is over its limit");
