/** LM-15, LM-16: ID blocks and digests of the keys that sign them. */

import { generateKeyPairSync } from 'node:crypto';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { fromHex, toHex } from '../../../../attestation/core/bytes.ts';
import { readSubjectPublicKeyInfo, type EcPublicKey } from '../../../../attestation/core/public-key.ts';
import { idKeyDigest, readIdBlock, writeIdBlock } from '../../../../attestation/sev-snp/launch/id-block.ts';
import { refusalCode, refusalOf } from '../../../support/refusal-code.ts';

const key = (x: string, y: string): EcPublicKey => ({
  type: 'ec',
  curve: 'P-384',
  x: fromHex(x, 'x'),
  y: fromHex(y, 'y'),
});

/** The keys, digests and block that virtee/sev 8.0.0 publishes with its tests (tests/id-block.rs). */
const ID_KEY = key(
  'f6763e4d2609cf1b2cf22f2cc8b8ca4cf55d470c3c23552c93b168874390dd95cb3fdee847ddf79ff29efbb8803c6d1f',
  'ccd7a8d047b9cdc1c750b1190abe6d1dad37a8decb14327b766619f712607cfd0d38853c50da9bcd080b35389c93be3e',
);
const ID_KEY_DIGEST =
  '59fb2c686dfa4fef49f38339aa775c90051c28d57383ddc3baf3b5eb4b1496df3b0dbbdcbae5fe27677a644820773fe2';
const AUTHOR_KEY = key(
  '6270c78bd6904cd1336299a25b98736a71ce92fef07494d72cb28b073c830f9f564af7a5c1c6ffc5a34973d5da45868c',
  '863c7930a2c98448a77a10088102e2a95f9308cd3e56b559b7fd3acc88b3cc2a19774348fea2f2c9031191e07187acf5',
);
const AUTHOR_KEY_DIGEST =
  'eed81169fb0cb5e0ec34794f128fd4e0c4a46f67c65a1adfa81fcb24bcc088c272369b7ffc3eb2b6af6a4284a1b36c5f';
const MEASUREMENT =
  'a14d638341e5674628fe1e02fbedebe5e5ab4faf1dd72d8966068e615bb99efd13d214b35c231715b38e263dc6059745';
const ID_BLOCK = `${MEASUREMENT}${'00'.repeat(32)}01000000000000000000030000000000`;

describe('an ID block', () => {
  it('LM-15: is written and read as published', () => {
    const block = {
      measurement: fromHex(MEASUREMENT, 'measurement'),
      familyId: new Uint8Array(16),
      imageId: new Uint8Array(16),
      guestSvn: 0,
      policy: 0x30000n,
    };
    expect(toHex(writeIdBlock(block))).toBe(ID_BLOCK);
    expect(readIdBlock(fromHex(ID_BLOCK, 'idBlock'))).toEqual(block);
  });

  it('LM-15: of another version or length is refused', () => {
    const bytes = fromHex(ID_BLOCK, 'idBlock');
    expect(refusalCode(() => readIdBlock(bytes.subarray(0, 95)))).toBe('layout-truncated');
    expect(refusalCode(() => readIdBlock(Uint8Array.of(...bytes, 0)))).toBe('layout-trailing');
    bytes[80] = 2;
    expect(refusalCode(() => readIdBlock(bytes))).toBe('layout-value');
  });

  it('LM-15: reads to what writes the same bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 96, maxLength: 96 }), (bytes) => {
        bytes.set([1, 0, 0, 0], 80);
        expect(writeIdBlock(readIdBlock(bytes))).toEqual(bytes);
      }),
      { numRuns: 200 },
    );
  });
});

describe('the digest of a key', () => {
  it('LM-16: is the published one', () => {
    expect(toHex(idKeyDigest(ID_KEY, 'key'))).toBe(ID_KEY_DIGEST);
    expect(toHex(idKeyDigest(AUTHOR_KEY, 'key'))).toBe(AUTHOR_KEY_DIGEST);
  });

  it('LM-16: is only of keys on P-384', () => {
    for (const namedCurve of ['P-256', 'P-521']) {
      const { publicKey } = generateKeyPairSync('ec', { namedCurve });
      const other = readSubjectPublicKeyInfo(publicKey.export({ type: 'spki', format: 'der' }), 'key');
      expect(refusalOf(() => idKeyDigest(other, 'key'))).toMatchObject({
        code: 'public-key-unsupported',
        field: 'key',
        found: namedCurve,
      });
    }
    const rsa = { type: 'rsa', modulus: new Uint8Array(256) } as const;
    expect(refusalOf(() => idKeyDigest(rsa, 'key'))).toMatchObject({
      code: 'public-key-unsupported',
      found: expect.stringContaining('RSA') as unknown,
    });
  });
});
