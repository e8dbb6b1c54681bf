import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import {
  decodeAuthorities,
  decodeInputs,
  encodeAuthorities,
  encodeInputs,
  partsOf,
  type DecisionInputs,
} from '../../src/server/decision-inputs.ts';
import { refusalCode } from '../support/refusal-code.ts';

const digest = (byte: string): string => byte.repeat(32);

const inputs: DecisionInputs = {
  version: 1,
  requestDigest: digest('01'),
  signature: { keyid: null, sig: 'AAAA' },
  challenge: {
    nonce: `${'A'.repeat(43)}=`,
    lab: 'lab-one',
    manifestDigest: digest('02'),
    expiresAt: 120,
    opened: 7,
  },
  receivedAt: 100,
  decidedAt: 101,
  authoritiesDigest: digest('03'),
  collateral: [
    { name: 'crl/Genoa', digest: digest('05') },
    { name: 'ark/Genoa', digest: digest('04') },
    { name: 'ask/Genoa', digest: digest('04') },
  ],
  collateralFailures: [{ code: 'crl-stale', field: 'crl/Genoa' }],
  machines: [
    {
      identity: digest('06'),
      attestationKeyName: `000b${digest('07')}`,
      endorsementKeyDigest: digest('08'),
      record: { version: 1, lastSeen: null },
      moved: 3,
    },
  ],
  liveStarts: ['7/0'],
  renewedLease: {
    lease: '00'.repeat(16),
    lab: 'lab-one',
    manifestDigest: digest('02'),
    machine: `tpm/${digest('06')}`,
    start: '7/0',
    endsAt: 4000,
  },
  holdsModelKey: true,
  lease: '11'.repeat(16),
  serverBuild: 'test',
};

/** Every change of one member that its reader could be shown, at any depth. */
function withoutEach(document: Readonly<Record<string, JsonValue>>): readonly JsonValue[] {
  return Object.keys(document).map((name) =>
    Object.fromEntries(Object.entries(document).filter(([member]) => member !== name)),
  );
}

describe('the inputs of a decision', () => {
  it('RD-1: have one form, and keep the order of the collateral', () => {
    const { bytes, digest: name } = encodeInputs(inputs);
    expect(decodeInputs(bytes)).toEqual(inputs);
    expect(encodeInputs(decodeInputs(bytes))).toEqual({ bytes, digest: name });
    expect(partsOf(inputs)).toEqual([digest('01'), digest('03'), digest('05'), digest('04')]);
  });

  it('W11: every member is needed, and no other is known', () => {
    const document = inputs as unknown as Readonly<Record<string, JsonValue>>;
    const changed = [...withoutEach(document), { ...document, more: 1 }, { ...document, version: 2 }];
    for (const other of changed) {
      expect(refusalCode(() => decodeInputs(encodeCanonicalJson(other)))).toBe('shape-mismatch');
    }
  });

  it('refuses whatever else it is shown', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          fc.json().map((text) => new TextEncoder().encode(text)),
        ),
        (bytes) => {
          for (const decode of [decodeInputs, decodeAuthorities]) {
            try {
              decode(bytes);
              return false;
            } catch (error) {
              if (!isRefusal(error)) throw error;
            }
          }
          return true;
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('authorities', () => {
  it('RD-5: come back as they were, in their order, each of its purpose', () => {
    const authorities = new Map([
      [
        'sev-snp',
        [{ name: 'ark', certificate: new Uint8Array([1, 2]), simulated: false, purpose: 'endorsements' }],
      ],
      [
        'nvidia-gpu',
        [
          { name: 'b', publicKeyDigest: new Uint8Array(32), simulated: true, purpose: 'reference-values' },
          {
            name: 'a',
            publicKeyDigest: new Uint8Array(32).fill(1),
            simulated: false,
            purpose: 'attestation-results',
          },
        ],
      ],
      ['tpm', []],
    ] as const);
    const decoded = decodeAuthorities(encodeAuthorities(authorities).bytes);
    expect([...decoded]).toEqual([...authorities]);
    const swapped = new Map([...authorities].reverse());
    expect(encodeAuthorities(swapped).digest).not.toBe(encodeAuthorities(authorities).digest);
  });

  it('one whose purpose was not named is of endorsements', () => {
    const plain = new Map([['tpm', [{ name: 'a', certificate: new Uint8Array([1]), simulated: false }]]]);
    expect(decodeAuthorities(encodeAuthorities(plain).bytes).get('tpm')).toMatchObject([
      { purpose: 'endorsements' },
    ]);
  });
});
