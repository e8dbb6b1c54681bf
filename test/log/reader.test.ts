import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';

import { fromUtf8, toUtf8 } from '../../attestation/core/bytes.ts';
import { openCheckpoint, signCheckpoint } from '../../src/log/checkpoint.ts';
import { createReleaseLog } from '../../src/log/log-folder.ts';
import { EMPTY_ROOT } from '../../src/log/merkle.ts';
import { auditLog, type LogSource } from '../../src/log/reader.ts';
import { folderSource, publishedSource } from '../../src/log/sources.ts';
import { tileRoutes } from '../../src/log/tile-routes.ts';
import {
  decodeEntryBundle,
  parseTilePath,
  partialTiles,
  tilePath,
  tileWidthAt,
} from '../../src/log/tiles.ts';
import { TreeBuilder } from '../../src/log/tree.ts';
import { refusalCode, refusalCodeAsync } from '../support/refusal-code.ts';
import { testSigner } from './test-signer.ts';

const root = mkdtempSync(join(tmpdir(), 'weightgate-reader-'));
afterAll(() => {
  rmSync(root, { recursive: true });
});

const signer = testSigner('log.example/evaluation');
const trust = { origin: signer.key.name, keys: [signer.key] };
const entryOf = (i: number): Uint8Array => toUtf8(`entry ${i}`);
const COUNT = 600;

const log = await createReleaseLog(
  mkdtempSync(join(root, 'log-')),
  { origin: trust.origin, signers: [signer] },
  { batchMilliseconds: 0, batchEntries: 200, waitingEntries: COUNT },
);
await Promise.all(Array.from({ length: COUNT }, (_, i) => log.append(entryOf(i))));
afterAll(() => log.close());
const source = publishedSource(log);
const route = tileRoutes(log);

/** The source with one file replaced; undefined takes it away. */
function replacing(path: string, bytes: Uint8Array | undefined): LogSource {
  return async (asked) => (asked === path ? bytes : await source(asked));
}

/** The state of the tree when it had so many entries. */
function headAt(size: number): { size: bigint; root: Uint8Array } {
  const tree = new TreeBuilder();
  for (let i = 0; i < size; i += 1) tree.append(entryOf(i));
  return { size: BigInt(size), root: tree.root() };
}

describe('tile routes', () => {
  it('TL-12: serve the checkpoint, every tile and every bundle of the size, and nothing wider', async () => {
    const checkpoint = await route('checkpoint');
    expect(checkpoint.headers['content-type']).toBe('text/plain; charset=utf-8');
    expect((await openCheckpoint(fromUtf8(checkpoint.body, 'checkpoint'), trust)).size).toBe(BigInt(COUNT));
    for (const path of [
      'tile/0/000',
      'tile/0/001',
      'tile/0/002.p/88',
      'tile/1/000.p/2',
      'tile/entries/001',
    ]) {
      const answer = await route(path);
      expect(answer.status).toBe(200);
      expect(answer.headers['cache-control']).toContain('immutable');
    }
    for (const path of [
      'tile/0/002',
      'tile/0/002.p/89',
      'tile/1/000.p/3',
      'tile/2/000.p/1',
      'tile/entries/003',
    ]) {
      expect((await route(path)).status).toBe(404);
    }
  });

  it('TL-13: a partial tile stays when the full one exists, and is its beginning', async () => {
    const partial = await route('tile/0/001.p/17');
    const full = await route('tile/0/001');
    expect(partial.body).toHaveLength(17 * 32);
    expect(Buffer.compare(partial.body, full.body.subarray(0, 17 * 32))).toBe(0);
    expect(full.body).toHaveLength(256 * 32);
  });

  it('TL-12: any path is answered with 200 or 404', async () => {
    const pieces = fc.constantFrom(
      'tile',
      'entries',
      '0',
      '000',
      '/',
      '.p/',
      'x001',
      '..',
      '%2e',
      '?',
      '63',
      '\0',
    );
    const paths = fc.oneof(
      fc.string(),
      fc.array(pieces).map((parts) => parts.join('')),
    );
    await fc.assert(
      fc.asyncProperty(paths, async (path) => {
        expect([200, 404]).toContain((await route(path)).status);
      }),
    );
  });
});

describe('tiles', () => {
  it('TL-12: every tile has one path', () => {
    const tiles = fc.record({
      level: fc.oneof(fc.constant('entries' as const), fc.nat(63)),
      index: fc.bigInt({ min: 0n, max: (1n << 56n) - 1n }),
      width: fc.integer({ min: 1, max: 256 }),
    });
    fc.assert(
      fc.property(tiles, (tile) => {
        expect(parseTilePath(tilePath(tile))).toEqual(tile);
      }),
    );
  });

  it('TL-13: partial tiles are those whose width is neither zero nor full', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), (size) => {
        for (const { level, index, width } of partialTiles(size)) {
          expect(width).toBeGreaterThan(0);
          expect(width).toBeLessThan(256);
          expect(tileWidthAt(size, level, index)).toBe(width);
          expect(tileWidthAt(size, level, index + 1n)).toBe(0);
          if (index > 0n) expect(tileWidthAt(size, level, index - 1n)).toBe(256);
        }
      }),
    );
  });

  it('TL-11: any bytes are an entry bundle or refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
        expect(refusalCode(() => decodeEntryBundle(bytes))).toMatch(/^(accepted|log-bundle-malformed)$/);
      }),
    );
    expect(refusalCode(() => decodeEntryBundle(new Uint8Array(2 * 257)))).toBe('log-bundle-malformed');
  });
});

describe('audit', () => {
  it('TL-25: rebuilds the root and hands over every entry in order', async () => {
    const seen: string[] = [];
    const checkpoint = await auditLog(source, trust, { minimumSize: 1n }, (entry, index) => {
      seen.push(`${index}:${fromUtf8(entry, 'entry')}`);
    });
    expect(checkpoint.size).toBe(BigInt(COUNT));
    expect(seen).toEqual(Array.from({ length: COUNT }, (_, i) => `${i}:entry ${i}`));
  });

  it('TL-25: an entry that is not the one that was signed is refused, wherever it stands', async () => {
    for (const path of ['tile/entries/000', 'tile/entries/002.p/88']) {
      const bytes = Uint8Array.from((await source(path))!);
      bytes[bytes.length - 1]! ^= 1;
      const code = await refusalCodeAsync(() => auditLog(replacing(path, bytes), trust, { minimumSize: 1n }));
      expect(code).toBe('log-root-mismatch');
    }
  });

  it('TL-25: a missing or shorter bundle is refused', async () => {
    const bytes = (await source('tile/entries/001'))!;
    const audit = (changed: Uint8Array | undefined) => () =>
      auditLog(replacing('tile/entries/001', changed), trust, { minimumSize: 1n });
    expect(await refusalCodeAsync(audit(undefined))).toBe('log-incomplete');
    expect(await refusalCodeAsync(audit(new Uint8Array(0)))).toBe('log-incomplete');
    expect(await refusalCodeAsync(audit(bytes.subarray(0, 5)))).toBe('log-bundle-malformed');
  });

  it('TL-26: an empty or shorter log than expected is refused', async () => {
    const note = await signCheckpoint(trust.origin, { size: 0n, root: EMPTY_ROOT }, [signer]);
    const empty = replacing('checkpoint', toUtf8(note));
    expect((await auditLog(empty, trust, { minimumSize: 0n })).size).toBe(0n);
    expect(await refusalCodeAsync(() => auditLog(empty, trust, { minimumSize: 1n }))).toBe('log-too-short');
    expect(await refusalCodeAsync(() => auditLog(source, trust, { minimumSize: 601n }))).toBe(
      'log-too-short',
    );
  });

  it('TL-27: compares with every earlier state that the reader has seen', async () => {
    for (const size of [0, 1, 255, 256, 257, 600]) {
      const previous = headAt(size);
      expect((await auditLog(source, trust, { minimumSize: 0n, previous })).size).toBe(600n);
      const other = { ...previous, root: headAt(3).root };
      expect(
        await refusalCodeAsync(() => auditLog(source, trust, { minimumSize: 0n, previous: other })),
      ).toBe('log-split-view');
    }
    const larger = { size: 601n, root: headAt(1).root };
    expect(await refusalCodeAsync(() => auditLog(source, trust, { minimumSize: 0n, previous: larger }))).toBe(
      'log-too-short',
    );
  });

  it('TL-10: a log that somebody else signed is refused before an entry is read', async () => {
    const stranger = testSigner('other.example');
    let read = 0;
    const visit = () => void (read += 1);
    const code = await refusalCodeAsync(() =>
      auditLog(source, { ...trust, keys: [stranger.key] }, { minimumSize: 1n }, visit),
    );
    expect(code).toBe('log-note-unsigned');
    expect(read).toBe(0);
  });

  it('TL-25: reads a folder of static files, with a full bundle in place of a partial one', async () => {
    const folder = mkdtempSync(join(root, 'mirror-'));
    for (const path of ['checkpoint', 'tile/entries/000', 'tile/entries/001', 'tile/entries/002.p/88']) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), (await source(path))!);
    }
    expect((await auditLog(folderSource(folder), trust, { minimumSize: 600n })).size).toBe(600n);

    const note = await signCheckpoint(trust.origin, headAt(300), [signer]);
    writeFileSync(join(folder, 'checkpoint'), note);
    expect((await auditLog(folderSource(folder), trust, { minimumSize: 300n })).size).toBe(300n);
  });
});
