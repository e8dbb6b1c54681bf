import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { openManifest } from '../../../src/sealed/manifest.ts';
import { SealedBundle } from '../../../src/sealed/reader.ts';
import { fetchBundle } from '../../../src/sealed/source/fetch.ts';
import type { RangeServer } from '../../support/range-server.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { readFolder, temporaryFolder, TRUST } from '../fixtures.ts';
import { CHUNK, sealed, sourceAt, startMirror, WEIGHTS } from './mirrored-bundle.ts';

const { digest } = openManifest(sealed.get('weightgate.manifest.json')!, TRUST);
const SIZE = sealed.get(WEIGHTS)!.length;

interface Target {
  readonly folder: string;
  readonly partial: string;
}

function target(): Target {
  const folder = join(temporaryFolder(), 'bundle');
  return { folder, partial: `${folder}.${digest.slice(0, 16)}.partial` };
}

function expectWhole({ folder, partial }: Target): void {
  const found = readFolder(folder);
  expect([...found.keys()].sort()).toEqual([...sealed.keys()].sort());
  for (const [path, bytes] of sealed) expect(Buffer.compare(found.get(path)!, bytes), path).toBe(0);
  expect(existsSync(partial)).toBe(false);
}

/** Bytes of the weights that were asked for. */
function askedBytes({ requests }: RangeServer): number {
  return requests
    .filter(({ path }) => path === `pub/${WEIGHTS}`)
    .map(({ range }) => /^bytes=([0-9]+)-([0-9]+)$/.exec(range!)!.slice(1).map(Number))
    .reduce((sum, [first, last]) => sum + last! - first! + 1, 0);
}

function writePartial({ partial }: Target, content: Uint8Array): void {
  mkdirSync(dirname(join(partial, WEIGHTS)), { recursive: true });
  writeFileSync(join(partial, WEIGHTS), content);
}

describe('fetching a bundle', () => {
  it('SW-42: puts all of it in place, and refuses a target that is there', async () => {
    const server = await startMirror();
    const to = target();
    const reports: number[] = [];
    const onProgress = ({ doneBytes }: { doneBytes: number }): void => {
      reports.push(doneBytes);
    };
    const bundle = await fetchBundle(sourceAt(server), TRUST, to.folder, { onProgress });
    expectWhole(to);
    await (await SealedBundle.open(to.folder, TRUST)).verify();
    expect(reports.at(-1)).toBe(bundle.totalBytes);
    expect(await refusalCodeAsync(() => fetchBundle(sourceAt(server), TRUST, to.folder))).toBe('file-exists');
  });

  it('SW-42: goes on from what an interrupted fetch has left, and asks only for the rest', async () => {
    const server = await startMirror();
    const to = target();
    const controller = new AbortController();
    server.choose = ({ path, range }) =>
      path === `pub/${WEIGHTS}` && range?.startsWith(`bytes=${CHUNK}-`) === true
        ? { kind: 'hang', afterBytes: 100 }
        : undefined;
    const onProgress = ({ doneBytes }: { doneBytes: number }): void => {
      if (doneBytes >= CHUNK) controller.abort();
    };
    const options = { signal: controller.signal, onProgress };
    const code = await refusalCodeAsync(() => fetchBundle(sourceAt(server), TRUST, to.folder, options));
    expect(code).toBe('sealed-interrupted');
    expect(existsSync(to.folder)).toBe(false);
    expect(statSync(join(to.partial, WEIGHTS)).size).toBe(CHUNK);
    server.choose = undefined;
    server.requests.splice(0);
    await fetchBundle(sourceAt(server), TRUST, to.folder);
    expectWhole(to);
    expect(askedBytes(server)).toBe(SIZE - CHUNK);
  });

  it('SW-42: what lies there is trusted by its digest alone', async () => {
    const server = await startMirror();
    const right = sealed.get(WEIGHTS)!;
    const wrong = Uint8Array.from(right);
    wrong[100]! ^= 1;
    const cases: readonly (readonly [Uint8Array, number])[] = [
      [right, 0],
      [right.subarray(0, CHUNK + 1), SIZE - CHUNK - 1],
      [wrong, SIZE],
      [wrong.subarray(0, CHUNK), SIZE - CHUNK + SIZE],
      [Buffer.concat([right, Buffer.from('x')]), SIZE],
    ];
    for (const [content, asked] of cases) {
      const to = target();
      writePartial(to, content);
      writeFileSync(join(to.partial, 'left-over.partial'), 'x');
      server.requests.splice(0);
      await fetchBundle(sourceAt(server), TRUST, to.folder);
      expectWhole(to);
      expect(askedBytes(server)).toBe(asked);
    }
  });

  it('SW-42: a file that comes corrupted once is fetched once more; one that always does leaves nothing', async () => {
    const server = await startMirror();
    const to = target();
    let corrupted = 0;
    server.choose = ({ path, headers }) =>
      path === `pub/${WEIGHTS}` && headers['cache-control'] === undefined && (corrupted += 1) > 0
        ? { kind: 'corrupt', at: 10 }
        : undefined;
    await fetchBundle(sourceAt(server), TRUST, to.folder);
    expect(corrupted).toBe(2);
    expectWhole(to);
    const other = target();
    server.choose = ({ path }) => (path === `pub/${WEIGHTS}` ? { kind: 'corrupt', at: 10 } : undefined);
    const code = await refusalCodeAsync(() => fetchBundle(sourceAt(server), TRUST, other.folder));
    expect(code).toBe('sealed-file-digest');
    expect(existsSync(other.folder)).toBe(false);
    expect(existsSync(join(other.partial, WEIGHTS))).toBe(false);
    expect(readFileSync(join(other.partial, 'config.json')).length).toBe(3);
  });

  it('SW-42: what is left of another manifest is left alone', async () => {
    const server = await startMirror();
    const to = target();
    const otherPartial = `${to.folder}.${'0'.repeat(16)}.partial`;
    mkdirSync(otherPartial);
    writeFileSync(join(otherPartial, 'config.json'), 'two');
    await fetchBundle(sourceAt(server), TRUST, to.folder);
    expectWhole(to);
    expect(readdirSync(otherPartial)).toEqual(['config.json']);
  });

  it('refuses a place that cannot be written, and a bundle that it has no reason to trust', async () => {
    const server = await startMirror();
    expect(await refusalCodeAsync(() => fetchBundle(sourceAt(server), TRUST, '/proc/self/bundle'))).toBe(
      'fetch-not-written',
    );
    const to = target();
    const other = { signers: { publicKeys: [new Uint8Array(32)], threshold: 1 } };
    expect(await refusalCodeAsync(() => fetchBundle(sourceAt(server), other, to.folder))).toBe(
      'dsse-threshold',
    );
    expect(readdirSync(dirname(to.folder))).toEqual([]);
  });
});
