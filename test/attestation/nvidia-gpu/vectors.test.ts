/** The vectors of NVIDIA: nothing knows them by their names, and a manifest that is wrong about them does not go through. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { temporaryFolder } from '../../support/temporary-folder.ts';
import { openVectorFolder } from '../../support/vector-folder.ts';
import type { VectorFolder } from '../../support/vector-folder.ts';
import { nvidiaVectors } from '../../support/vector-nvidia.ts';
import { runVectors } from '../../support/vector-runner.ts';
import type { VectorLine } from '../../support/vector-runner.ts';
import { vectorFolder, vectorsMissing } from '../../support/vectors.ts';

/** One entry of the manifest, as plain JSON. */
type Entry = Record<string, unknown> & { id: string };
interface Manifest {
  counts: { vectors: number; mutations: number };
  roots: Record<string, unknown>[];
  vectors: Entry[];
  mutations: (Entry & { base: string })[];
}

const missing = vectorsMissing('nvidia');
const shared = (): string => vectorFolder('nvidia');

async function linesOf(folder: VectorFolder): Promise<readonly VectorLine[]> {
  const lines: VectorLine[] = [];
  for await (const line of nvidiaVectors.judge(folder)) lines.push(line);
  return lines;
}

function readManifest(): Manifest {
  return JSON.parse(readFileSync(join(shared(), 'manifest.json'), 'utf8')) as Manifest;
}

/** Members of a manifest that name a vector, a mutation or a file. */
const NAMING: ReadonlySet<string> = new Set(
  'id base vector evidence driver_rim vbios_rim bios_rim path file'.split(' '),
);

interface Renamed {
  /** Other places of the files, by their own. */
  readonly files: ReadonlyMap<string, string>;
  /** The manifest under other names. */
  readonly text: string;
}

function renamed(manifest: Manifest): Renamed {
  const { vectors, mutations, roots } = manifest;
  const filesOf = (vector: Entry): string[] =>
    Object.values((vector['files'] ?? {}) as Record<string, { path: string }>).map(({ path }) => path);
  const paths = new Set([...vectors.flatMap(filesOf), ...roots.map(({ file }) => String(file))]);
  const files = new Map([...paths].map((path, i) => [path, `f/${i}.bin`]));
  const ids = vectors.map(({ id }, i) => [id, `item ${vectors.length - i}`] as const);
  const changes = mutations.map(({ id }, i) => [id, `change ${i}`] as const);
  const names = new Map([...files, ...ids, ...changes]);
  const text = JSON.stringify(manifest, (key, value: unknown) =>
    NAMING.has(key) && typeof value === 'string' ? (names.get(value) ?? value) : value,
  );
  return { files, text };
}

describe.skipIf(missing !== undefined)(`a folder with other names ${missing ?? ''}`, () => {
  it('comes out alike, line by line', async () => {
    const place = await temporaryFolder();
    const { files, text } = renamed(readManifest());
    const original = openVectorFolder(shared());
    mkdirSync(join(place, 'f'));
    for (const [from, to] of files) writeFileSync(join(place, to), original.file(from));
    writeFileSync(join(place, 'manifest.json'), text);
    const lines = await linesOf(original);
    const others = await linesOf(openVectorFolder(place));
    const untitled = ({ subject: _subject, ...line }: VectorLine): object => line;
    expect(others.map(untitled)).toEqual(lines.map(untitled));
    expect(others.some(({ subject }) => /h100|gb100|ls10|tinfoil/i.test(subject))).toBe(false);
    expect(lines.filter(({ agrees, explanation }) => !agrees && explanation === undefined)).toEqual([]);
  }, 240_000);
});

/** The folder with a manifest that has one vector of a kind, what it needs, and its mutations. */
function small(
  kind: string,
  change: (vector: Entry, mutations: Manifest['mutations']) => void,
): VectorFolder {
  const manifest = structuredClone(whole);
  const vector = manifest.vectors.find((one) => one['kind'] === kind)!;
  const mutations = manifest.mutations.filter(({ base }) => base === vector.id).slice(0, 3);
  change(vector, mutations);
  const uses = Object.values(vector['uses'] ?? {}) as string[];
  const text = JSON.stringify(mutations);
  const needed = manifest.vectors.filter(({ id }) => uses.includes(id) || text.includes(JSON.stringify(id)));
  const vectors = [vector, ...needed.filter((one) => one !== vector)];
  const counts = { vectors: vectors.length, mutations: mutations.length };
  return { ...openVectorFolder(shared()), manifest: { ...manifest, counts, vectors, mutations } };
}

let whole: Manifest;

describe.skipIf(missing !== undefined)(`a manifest that is wrong about nvidia ${missing ?? ''}`, () => {
  beforeAll(() => {
    whole = readManifest();
  });

  const parsed = (vector: Entry): Record<string, unknown> => vector['parsed'] as Record<string, unknown>;
  const expected = (vector: Entry): { verdict: string; failing: string[] } =>
    vector['expect'] as { verdict: string; failing: string[] };
  const refuse = (vector: Entry): void => void (vector['expect'] = { verdict: 'reject', failing: [] });

  it.each<[string, string, (vector: Entry) => void, RegExp]>([
    ['a member of a report', 'gpu-evidence', (v) => (parsed(v)['driver_version'] = '1.2'), /#parsed$/],
    ['a member that nobody reads', 'gpu-evidence', (v) => (parsed(v)['colour'] = 'green'), /#parsed$/],
    ['a member that is left out', 'gpu-evidence', (v) => delete parsed(v)['brom_serial'], /#parsed$/],
    ['a time of a certificate', 'gpu-evidence', shiftChain, /#chain$/],
    ['a check that fails', 'gpu-evidence', (v) => expected(v).failing.push('nonce'), /#checks$/],
    ['the verdict on a report', 'gpu-evidence', refuse, /^[^#]+$/],
    ['the verdict on a switch', 'switch-evidence', refuse, /^[^#]+$/],
    ['an entry of a layout', 'opaque-format', (v) => (parsed(v)['entries'] as object[]).pop(), /#parsed$/],
    ['the verdict on a set', 'device-set', refuse, /^[^#]+$/],
    ['a device of a set', 'device-set', (v) => (parsed(v)['devices'] as object[]).pop(), /#devices$/],
    ['an index of a manifest', 'rim', (v) => (parsed(v)['active_indices'] as number[]).pop(), /#parsed$/],
    ['the verdict on a manifest', 'rim', refuse, /^[^#]+$/],
    [
      'a comparison',
      'measurement',
      (v) => (v['result'] as { compared: number[] }).compared.pop(),
      /#result$/,
    ],
    ['the verdict on a comparison', 'measurement', (v) => (expected(v).verdict = 'mismatch'), /^[^#]+$/],
    ['a time of an answer', 'ocsp', (v) => (parsed(v)['next_update'] = '2025-01-01T00:00:00Z'), /#parsed$/],
    ['the verdict on an answer', 'ocsp', refuse, /^[^#]+$/],
    ['a claim of a token', 'nras-eat', (v) => (parsed(v)['iat'] = 1), /#parsed$/],
    ['the verdict on a token', 'nras-eat', refuse, /^[^#]+$/],
    ['what a quote says', 'composite', (v) => (parsed(v)['quote_version'] = 5), /#parsed$/],
    ['the verdict on a composite', 'composite', refuse, /^[^#]+$/],
  ])('differs at %s', async (_what, kind, change, subject) => {
    const { disagreement } = await runVectors(nvidiaVectors, small(kind, change), () => undefined);
    expect(disagreement?.subject).toMatch(subject);
  });

  it('differs when a refusal is that of another check than the manifest names', async () => {
    const folder = small('gpu-evidence', (_vector, mutations) => {
      const [first] = mutations;
      first!['expect'] = { verdict: 'reject', must_fail: ['chain_root'], all_failing: ['chain_root'] };
    });
    const { disagreement } = await runVectors(nvidiaVectors, folder, () => undefined);
    expect(disagreement).toMatchObject({ got: expect.stringMatching(/^refused by /) as string });
    expect(disagreement?.expected).toContain('chain_root');
  });

  it('does not take a check that fails as well for the one that has to refuse', async () => {
    const folder = small('gpu-evidence', (_vector, mutations) => {
      const [first] = mutations;
      const { must_fail: names } = first!['expect'] as { must_fail: string[] };
      first!['expect'] = { verdict: 'reject', must_fail: ['fwid'], all_failing: ['fwid', ...names] };
    });
    const { explained, disagreement } = await runVectors(nvidiaVectors, folder, () => undefined);
    expect({ explained, isFound: disagreement !== undefined }).toEqual({ explained: 0, isFound: true });
  });

  it.each<[string, (vector: Entry) => void]>([
    ['a check', (vector) => (vector['expect'] = { verdict: 'reject', failing: ['charm'] })],
    ['a verdict', (vector) => (vector['expect'] = { verdict: 'perhaps', failing: [] })],
  ])('stops at %s that nobody knows', async (_what, change) => {
    await expect(linesOf(small('gpu-evidence', change))).rejects.toThrow();
  });

  it('does not take a file for another', async () => {
    const folder = small('gpu-evidence', (vector) => {
      const { report } = vector['files'] as { report: { sha256: string } };
      report.sha256 = '00'.repeat(32);
    });
    await expect(linesOf(folder)).rejects.toThrow('SHA-256');
  });
});

function shiftChain(vector: Entry): void {
  const [leaf] = vector['chain_validity'] as { not_before: string }[];
  leaf!.not_before = '2000-01-01T00:00:00Z';
}
