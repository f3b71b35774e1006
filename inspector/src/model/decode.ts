// The container of a recording (see wire.py): base64 text -> gzip -> header and columns of numbers.

export type Numbers = Int8Array | Uint8Array | Int32Array | Uint32Array | Float32Array | Float64Array;

const KINDS = {
  i1: Int8Array,
  u1: Uint8Array,
  i4: Int32Array,
  u4: Uint32Array,
  f4: Float32Array,
  f8: Float64Array,
  str: Int32Array,
} as const;

interface Described {
  dtype: keyof typeof KINDS;
  shape: number[];
  at: number;
}

interface Header {
  format: string;
  version: number;
  info: Record<string, unknown>;
  strings: string[];
  tables: Record<string, { rows: number; columns: Record<string, Described> }>;
}

/** One table: columns of numbers as views of the file's bytes; text columns hold indices into the strings. */
export class Table {
  constructor(
    readonly name: string,
    readonly rows: number,
    private readonly columns: Map<string, { text: boolean; values: Numbers }>,
    private readonly strings: readonly string[],
  ) {}

  has(column: string): boolean {
    return this.columns.has(column);
  }

  names(): string[] {
    return [...this.columns.keys()];
  }

  /** The numbers of a column; a missing column reads as `none` in every row. */
  numbers(column: string, none = -1): Numbers {
    const found = this.columns.get(column);
    if (found) return found.values;
    const values = new Float64Array(this.rows).fill(none);
    this.columns.set(column, { text: false, values });
    return values;
  }

  number(row: number, column: string): number {
    return this.columns.get(column)?.values[row] ?? NaN;
  }

  /** The text of one cell; "" where there is none. */
  text(row: number, column: string): string {
    const found = this.columns.get(column);
    return found?.text ? (this.strings[found.values[row] ?? -1] ?? "") : "";
  }

  isText(column: string): boolean {
    return this.columns.get(column)?.text ?? false;
  }
}

export class Container {
  constructor(
    readonly info: Record<string, unknown>,
    readonly strings: readonly string[],
    private readonly tables: Map<string, Table>,
  ) {}

  has(name: string): boolean {
    return this.tables.has(name);
  }

  /** A table by name; one that the recording lacks has no rows. */
  table(name: string): Table {
    let found = this.tables.get(name);
    if (!found) this.tables.set(name, (found = new Table(name, 0, new Map(), [])));
    return found;
  }
}

function bytesOfBase64(text: string): Uint8Array<ArrayBuffer> {
  const native = (Uint8Array as unknown as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> }).fromBase64;
  if (native) return native.call(Uint8Array, text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

export async function gunzip(bytes: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

export function parse(buffer: ArrayBuffer): Container {
  const bytes = new Uint8Array(buffer);
  if (bytes.length < 8 || String.fromCharCode(bytes[0]!, bytes[1]!, bytes[2]!, bytes[3]!) !== "BLT1") {
    throw new Error("this is no recording: its first bytes are not BLT1");
  }
  const length = new DataView(buffer).getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))) as Header;
  if (header.version !== 1) throw new Error(`a recording of version ${header.version}; this page reads version 1`);
  const tables = new Map<string, Table>();
  for (const [name, { rows, columns }] of Object.entries(header.tables)) {
    const read = new Map<string, { text: boolean; values: Numbers }>();
    for (const [column, { dtype, shape, at }] of Object.entries(columns)) {
      const count = shape.reduce((a, b) => a * b, rows);
      read.set(column, { text: dtype === "str", values: new KINDS[dtype](buffer, 8 + length + at, count) });
    }
    tables.set(name, new Table(name, rows, read, header.strings));
  }
  return new Container(header.info, header.strings, tables);
}

export async function decode(base64: string): Promise<Container> {
  return parse(await gunzip(bytesOfBase64(base64.trim())));
}
