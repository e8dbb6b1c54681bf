import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';

import { toBase64, toUtf8 } from '../../attestation/core/bytes.ts';
import { openExports, readExportedRange } from '../../src/audit/export-source.ts';
import { writeExport } from '../../src/audit/export-writer.ts';
import { fetchNewest } from '../../src/audit/newest.ts';
import { openCheckpoint } from '../../src/log/checkpoint.ts';
import { auditLog } from '../../src/log/reader.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { ServedLog } from '../support/served-log.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const ORIGIN = 'log.example/export';
const entryOf = (i: number): Uint8Array => toUtf8(`entry ${i}${'.'.repeat(i % 300)}`);
const log = new ServedLog(
  ORIGIN,
  Array.from({ length: 700 }, (_, i) => entryOf(i)),
);

let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder();
});

/** Exports the log as it was at a size, after another size. @returns the path */
async function exported(name: string, size: number, after = 0, from = log): Promise<string> {
  const path = join(folder, name);
  const newest = await fetchNewest(from.source(size), from.trust);
  const previous = after === 0 ? undefined : await openCheckpoint(await from.note(after), from.trust);
  await writeExport(path, newest, from.trust, previous);
  return path;
}

/** Reads all entries of exports, as every command does. */
async function verified(...paths: readonly string[]): Promise<readonly string[]> {
  const entries: string[] = [];
  const source = await openExports(paths, log.trust);
  await auditLog(source, log.trust, { minimumSize: 1n }, (entry) => {
    entries.push(Buffer.from(entry).toString());
  });
  return entries;
}

const code = (...paths: readonly string[]): Promise<string> => refusalCodeAsync(() => verified(...paths));

/** Changes the lines of a file. */
async function edit(path: string, change: (lines: string[]) => readonly string[] | string): Promise<string> {
  const lines = (await readFile(path, 'utf8')).split('\n').slice(0, -1);
  const changed = change(lines);
  await writeFile(path, typeof changed === 'string' ? changed : changed.map((line) => `${line}\n`).join(''));
  return path;
}

describe('an export', () => {
  it.each([1, 2, 255, 256, 257, 700])(
    'AU-15: gives back the %d entries that it was made of',
    async (size) => {
      const entries = await verified(await exported('one', size));
      expect(entries).toEqual(log.entries.slice(0, size).map((entry) => Buffer.from(entry).toString()));
    },
  );

  it.each([
    [1, 2],
    [3, 4],
    [255, 257],
    [256, 700],
    [300, 512],
    [512, 700],
    [511, 699],
  ])('AU-16: goes on after %d entries up to %d', async (after, size) => {
    const [first, second] = [await exported('first', after), await exported('second', size, after)];
    expect(await verified(first, second)).toHaveLength(size);
    expect(await code(second)).toBe('export-gap');
    expect(await code(second, first)).toBe('export-gap');
    expect(await code(first, first)).toBe('export-gap');
  });

  it('AU-11, AU-13: says what it holds and holds no key', async () => {
    await exported('first', 300);
    const text = await readFile(await exported('second', 700, 300), 'utf8');
    const [head = '', ...lines] = text.trimEnd().split('\n');
    const { header } = JSON.parse(head) as { header: Record<string, unknown> };
    expect(Object.keys(header)).toEqual([
      'checkpoint',
      'first',
      'format',
      'last',
      'origin',
      'previous',
      'version',
    ]);
    expect(header).toMatchObject({
      first: '300',
      last: '699',
      origin: ORIGIN,
      checkpoint: await log.note(700),
    });
    expect(lines).toHaveLength(401);
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ trailer: { entries: '400', last: '699' } });
    expect(text).not.toContain(toBase64(log.signer.key.publicKey));
    expect(text).not.toContain(`${log.signer.key.name}+`);
  });

  it('AU-17: is not there when the log does not verify, and never in part', async () => {
    const wrong = new ServedLog(ORIGIN, log.entries);
    const source = wrong.source(700);
    const newest = await fetchNewest(source, wrong.trust);
    wrong.entries[650] = toUtf8('another entry');
    const write = (): Promise<void> => writeExport(join(folder, 'bad'), newest, wrong.trust, undefined);
    expect(await refusalCodeAsync(write)).toBe('log-root-mismatch');
    expect(await readdir(folder)).toEqual([]);
    const path = await exported('good', 10);
    expect(await refusalCodeAsync(() => exported('good', 20))).toBe('file-exists');
    expect(await verified(path)).toHaveLength(10);
  });

  it('AU-13: has at least one entry', async () => {
    expect(await refusalCodeAsync(() => exported('none', 0))).toBe('export-nothing');
    expect(await refusalCodeAsync(() => exported('none', 40, 40))).toBe('export-nothing');
  });
});

describe('an export that was altered', () => {
  const swap = (lines: string[], i: number, k: number): string[] =>
    lines.with(i, lines[k] ?? '').with(k, lines[i] ?? '');
  const change = (line: number, from: string, to: string) => (lines: string[]) =>
    lines.with(line, (lines.at(line) ?? '').replace(from, to));

  it.each<[string, string, (lines: string[]) => readonly string[] | string]>([
    ['cut before its trailer', 'export-cut', (lines) => lines.slice(0, -1)],
    ['cut after its header', 'export-cut', (lines) => lines.slice(0, 1)],
    ['cut within a line', 'export-cut', (lines) => lines.join('\n').slice(0, 5000)],
    ['without its last line feed', 'export-cut', (lines) => lines.join('\n')],
    ['empty', 'export-cut', () => ''],
    ['without its last entries', 'export-cut', (lines) => [...lines.slice(0, -5), lines.at(-1) ?? '']],
    ['without an entry', 'export-order', (lines) => lines.toSpliced(100, 1)],
    ['in another order', 'export-order', (lines) => swap(lines, 100, 101)],
    ['with an entry twice', 'export-repeated', (lines) => lines.toSpliced(100, 0, lines[100] ?? '')],
    [
      'with an entry too many',
      'export-order',
      (lines) => lines.toSpliced(-1, 0, '{"entry":"AA==","index":"300"}'),
    ],
    ['with a line after its trailer', 'export-trailing', (lines) => [...lines, lines[5] ?? '']],
    ['with another export behind it', 'export-trailing', (lines) => [...lines, ...lines]],
    [
      'with a member more in its header',
      'shape-mismatch',
      change(0, '"version":1}', '"version":1,"zeal":1}'),
    ],
    ['with a member more in an entry', 'shape-mismatch', change(7, '"index":"6"', '"index":"6","zeal":1')],
    [
      'with a member more in its trailer',
      'shape-mismatch',
      change(-1, '"last":"299"', '"last":"299","zeal":1'),
    ],
    ['with a key in it', 'shape-mismatch', change(0, '"last":', '"key":"k","last":')],
    ['of another version', 'shape-mismatch', change(0, '"version":1', '"version":2')],
    ['with white space', 'json-not-canonical', change(7, '"index":', '"index": ')],
    ['with another spelling of base64', 'base64-malformed', change(1, '"entry":"', '"entry":"=')],
    ['of another log', 'export-other-log', change(0, `"origin":"${ORIGIN}"`, '"origin":"log.example/other"')],
    ['with another first index', 'export-contradiction', change(0, '"first":"0"', '"first":"1"')],
    ['with another last index', 'export-contradiction', change(0, '"last":"299"', '"last":"298"')],
    ['with another count', 'export-contradiction', change(-1, '"entries":"300"', '"entries":"301"')],
    [
      'with a proof of nothing',
      'export-contradiction',
      change(-1, '"consistency":[]', '"consistency":["AAAA"]'),
    ],
    ['with an index that is no number', 'log-number-malformed', change(7, '"index":"6"', '"index":"06"')],
  ])('AU-14: %s is refused as %s', async (_what, expected, alter) => {
    expect(await code(await edit(await exported('altered', 300), alter))).toBe(expected);
  });

  it('AU-15: with an entry of another log is refused by its root', async () => {
    const other = `{"entry":"${toBase64(toUtf8('entry of another log'))}","index":"99"}`;
    for (const size of [300, 101]) {
      const path = await edit(await exported(`altered ${size}`, size), (lines) => lines.with(100, other));
      expect(await code(path)).toBe('log-root-mismatch');
    }
  });

  it('AU-1, AU-15: with a checkpoint of its own is refused, whoever signed it', async () => {
    const stranger = new ServedLog(
      ORIGIN,
      log.entries.slice(0, 300),
      new ServedLog('stranger.example', []).signer,
    );
    const path = await exported('stranger', 300, 0, stranger);
    expect(await code(path)).toBe('log-note-unsigned');
  });

  it('AU-15, AU-16: of a history that another one went on from is refused', async () => {
    const fork = new ServedLog(ORIGIN, log.entries.with(10, toUtf8('another entry')));
    const first = await exported('first', 300);
    expect(await code(first, await exported('forked', 400, 300, fork))).toBe('export-contradiction');
    const second = await exported('second', 400, 300);
    await edit(second, change(-1, '"consistency":["', `"consistency":["${'A'.repeat(43)}=","`));
    expect(await code(first, second)).toBe('log-consistency-invalid');
    await edit(second, (lines) =>
      lines.with(-1, '{"trailer":{"consistency":[],"entries":"100","last":"399"}}'),
    );
    expect(await code(first, second)).toBe('log-consistency-invalid');
  });

  it('AU-14: any bytes are refused, and nothing else happens', async () => {
    const path = await exported('any', 8);
    const bytes = new Uint8Array(await readFile(path));
    const target = join(folder, 'fuzzed');
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
        await writeFile(target, bytes.with(at, (bytes[at] ?? 0) ^ mask));
        expect(await code(target)).not.toBe('accepted');
      }),
      { numRuns: 60 },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (noise) => {
        await writeFile(target, noise);
        expect(await refusalCodeAsync(() => readExportedRange(target, log.trust))).not.toBe('accepted');
      }),
      { numRuns: 40 },
    );
  });
});

/** From the specification alone, with nothing but Python's own library. */
const INDEPENDENT_CHECK = `
import base64, hashlib, json, sys
hash_of = lambda data: hashlib.sha256(data).digest()
def root(leaves):
    if len(leaves) == 1: return leaves[0]
    k = 1
    while k * 2 < len(leaves): k *= 2
    return hash_of(b"\\x01" + root(leaves[:k]) + root(leaves[k:]))
lines = [json.loads(line) for line in open(sys.argv[1])]
entries = lines[1:-1]
assert [e["index"] for e in entries] == [str(i) for i in range(len(entries))]
assert lines[-1]["trailer"]["entries"] == str(len(entries))
tree = root([hash_of(b"\\x00" + base64.b64decode(e["entry"])) for e in entries])
origin, size, signed = lines[0]["header"]["checkpoint"].split("\\n")[:3]
assert size == str(len(entries)) and origin == lines[0]["header"]["origin"]
print("same" if base64.b64encode(tree).decode() == signed else "other")
`;

describe('somebody else', () => {
  it('W12: rebuilds the root of an export with the specification and a few lines of Python', async () => {
    const path = await exported('export', 700);
    const check = async (): Promise<string> =>
      (await promisify(execFile)('python3', ['-c', INDEPENDENT_CHECK, path])).stdout.trim();
    expect(await check()).toBe('same');
    await edit(path, (lines) => lines.with(100, `{"entry":"${toBase64(toUtf8('other'))}","index":"99"}`));
    expect(await check()).toBe('other');
  });
});
