import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { openManifest, signManifest, type ManifestContents } from '../../src/sealed/manifest.ts';
import { checkPaths, comparePaths } from '../../src/sealed/paths.ts';
import { refusalCode, refusalOf } from '../support/refusal-code.ts';
import { MODEL, privateKey, publicKey, signer, TRUST } from './fixtures.ts';
import { canonical, signPayload } from './second-implementation.ts';

const contents: ManifestContents = {
  model: MODEL,
  salt: new Uint8Array(32).fill(1),
  keyCommitment: new Uint8Array(32).fill(2),
  files: [{ path: 'a', bytes: 5, chunks: 1, sha256: 'a'.repeat(64) }],
  tagsSha256: 'b'.repeat(64),
};

describe('manifests', () => {
  it('SW-18: what was signed is read back, under the digest that signing gave', async () => {
    const { bytes, digest } = await signManifest(contents, [signer]);
    const manifest = openManifest(bytes, TRUST);
    expect(manifest).toEqual({ ...contents, digest, signedBy: [signer.publicKey] });
    expect(openManifest(bytes, { digest })).toEqual({ ...contents, digest, signedBy: [] });
  });

  it('SW-14: random bytes and random signed documents give refusals only', () => {
    const signed = fc
      .json()
      .map((text) => signPayload(Buffer.from(canonical(JSON.parse(text) as null)), privateKey, publicKey));
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), fc.string().map(toUtf8), signed), (bytes) => {
        expect(refusalCode(() => openManifest(bytes, TRUST))).not.toBe('accepted');
      }),
    );
  });
});

describe('paths', () => {
  it('SW-2, SW-3: any list of texts is accepted or refused, and what is accepted stays inside', () => {
    const segment = fc.oneof(fc.constantFrom('.', '..', '', 'a', 'A', 'b'), fc.string({ unit: 'grapheme' }));
    const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join('/'));
    fc.assert(
      fc.property(fc.array(path, { maxLength: 5 }), (paths) => {
        const code = refusalCode(() => {
          checkPaths(paths);
        });
        expect(['accepted', 'sealed-path', 'sealed-path-conflict']).toContain(code);
        if (code !== 'accepted') return;
        for (const accepted of paths) {
          expect(
            new URL(encodeURI(accepted).replaceAll('?', '%3F').replaceAll('#', '%23'), 'file:///bundle/')
              .pathname,
          ).toMatch(/^\/bundle\/./);
        }
        expect(new Set(paths.map((accepted) => accepted.toLowerCase())).size).toBe(paths.length);
      }),
      { numRuns: 1000 },
    );
  });

  it('SW-2: an empty path is refused with something to look for', () => {
    const { code, field } = refusalOf(() => {
      checkPaths(['']);
    });
    expect({ code, field }).toEqual({ code: 'sealed-path', field: 'path' });
  });

  it('SW-17: the order is that of UTF-8 bytes, not of UTF-16 units', () => {
    expect(['\u{1F600}', '\uFF61', 'b', 'a/b', 'a'].sort(comparePaths)).toEqual([
      'a',
      'a/b',
      'b',
      '\uFF61',
      '\u{1F600}',
    ]);
  });
});
