/** Small weight files for tests, made by hand. */

export interface SmallTensor {
  readonly name: string;
  /** Of type `U8` in safetensors and `I8` in GGUF: one byte an element. */
  readonly content: Uint8Array;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

export function safetensorsFile(tensors: readonly SmallTensor[]): Buffer {
  let end = 0;
  const entries = tensors.map(({ name, content }) => {
    const begin = end;
    end += content.length;
    return [name, { dtype: 'U8', shape: [content.length], data_offsets: [begin, end] }];
  });
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  return Buffer.concat([u64(header.length), header, ...tensors.map(({ content }) => content)]);
}

const ALIGNMENT = 32;
const I8 = 24;

export function ggufFile(tensors: readonly SmallTensor[]): Buffer {
  const padded = (bytes: Uint8Array): Buffer =>
    Buffer.concat([bytes, Buffer.alloc((ALIGNMENT - (bytes.length % ALIGNMENT)) % ALIGNMENT)]);
  let offset = 0;
  const entries = tensors.map(({ name, content }) => {
    const start = offset;
    offset += padded(content).length;
    const title = Buffer.from(name);
    return Buffer.concat([u64(title.length), title, u32(1), u64(content.length), u32(I8), u64(start)]);
  });
  const counts = [u32(3), u64(tensors.length), u64(0)];
  const header = padded(Buffer.concat([Buffer.from('GGUF'), ...counts, ...entries]));
  return Buffer.concat([header, ...tensors.map(({ content }) => padded(content))]);
}

/** The index of shards by file. */
export function shardIndex(shards: Readonly<Record<string, readonly SmallTensor[]>>): Buffer {
  const map = Object.entries(shards).flatMap(([file, tensors]) =>
    tensors.map(({ name }): [string, string] => [name, file]),
  );
  return Buffer.from(
    JSON.stringify({ metadata: { total_size: 1.5e9 }, weight_map: Object.fromEntries(map) }),
  );
}
