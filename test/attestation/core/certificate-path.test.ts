import { generateKeyPairSync, type KeyObject } from 'node:crypto';

import { sha256 } from '@noble/hashes/sha2.js';
import { describe, expect, it, vi } from 'vitest';

import { toHex } from '../../../attestation/core/bytes.ts';
import { CertificateMemory } from '../../../attestation/core/certificate-memory.ts';
import {
  anchorDigest,
  anchorsFor,
  verifyCertificatePath,
} from '../../../attestation/core/certificate-path.ts';
import type { PathInputs, TrustAnchor } from '../../../attestation/core/certificate-path.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import {
  bitString,
  commonName,
  explicit,
  extension,
  integer,
  NULL,
  sequence,
  signedBy,
  tbsOf,
  TRUE,
  utcTime,
} from '../../support/der-writer.ts';
import type { Der } from '../../support/der-writer.ts';
import { refusalCodeAsync, refusalOfAsync } from '../../support/refusal-code.ts';

interface Keys {
  readonly privateKey: KeyObject;
  readonly spki: Uint8Array;
}

function makeKeys(): Keys {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { privateKey, spki: publicKey.export({ type: 'spki', format: 'der' }) };
}

const KEYS = {
  root: makeKeys(),
  upper: makeKeys(),
  lower: makeKeys(),
  leaf: makeKeys(),
  other: makeKeys(),
};
type Role = keyof typeof KEYS;

const SIGNS_CERTIFICATES = extension('2.5.29.15', bitString(Uint8Array.of(0x04), 2), true);
const authority = (pathLength?: number): readonly Der[] => [
  extension('2.5.29.19', sequence(TRUE, ...(pathLength === undefined ? [] : [integer(pathLength)])), true),
  SIGNS_CERTIFICATES,
];

const FROM = Date.UTC(2026, 0) / 1000;
const UNTIL = Date.UTC(2027, 0) / 1000;
const TIME = FROM + 1000;

interface Issue {
  readonly extensions?: readonly Der[];
  readonly from?: string;
  readonly until?: string;
  /** Whose key signs, where it is not that of the named issuer. */
  readonly signer?: Role;
  readonly subject?: string;
}

/** A certificate of one role by another; the names of the roles stand in it. */
function issue(subject: Role, issuer: Role, changes: Issue = {}): Der {
  const { extensions = [], from = '260101000000Z', until = '270101000000Z', signer = issuer } = changes;
  const tbs = tbsOf({
    issuer: commonName(issuer),
    subject: commonName(changes.subject ?? subject),
    validity: sequence(utcTime(from), utcTime(until)),
    publicKey: KEYS[subject].spki,
    extensions: explicit(3, sequence(...extensions)),
  });
  return signedBy(KEYS[signer].privateKey, tbs);
}

const root = issue('root', 'root', { extensions: authority() });
const upper = issue('upper', 'root', { extensions: authority(1) });
const lower = issue('lower', 'upper', { extensions: authority(0) });
const leaf = issue('leaf', 'lower');
const anchor: TrustAnchor = { name: 'the root', certificate: root, simulated: true };
const pinned: TrustAnchor = {
  name: 'the key',
  publicKeyDigest: sha256(KEYS.root.spki),
  simulated: false,
};

function verify(changes: Partial<PathInputs> & { readonly leaf?: Der } = {}): Promise<TrustAnchor> {
  const { leaf: bytes = leaf, ...inputs } = changes;
  return verifyCertificatePath(readCertificate(bytes, 'certificate'), {
    intermediates: [lower, upper],
    anchors: [anchor],
    time: TIME,
    validity: 'enforce',
    understoodLeafExtensions: [],
    ...inputs,
  });
}

const code = (changes: Parameters<typeof verify>[0]): Promise<string> =>
  refusalCodeAsync(() => verify(changes));
const refusal = (changes: Parameters<typeof verify>[0]) => refusalOfAsync(() => verify(changes));

describe('a certificate path', () => {
  it('EV-13: leads to an anchor, which may stand at its end', async () => {
    expect(await verify()).toBe(anchor);
    expect(await verify({ intermediates: [lower, upper, root] })).toBe(anchor);
    expect(await verify({ leaf: upper, intermediates: [] })).toBe(anchor);
    expect(await verify({ leaf: upper, intermediates: [root] })).toBe(anchor);
  });

  it('EV-13: leads to a pinned key where its certificate is sent', async () => {
    expect(await verify({ anchors: [pinned], intermediates: [lower, upper, root] })).toBe(pinned);
    expect(await code({ anchors: [pinned] })).toBe('path-untrusted');
    const other = { ...pinned, publicKeyDigest: sha256(KEYS.other.spki) };
    expect(await code({ anchors: [other], intermediates: [lower, upper, root] })).toBe('path-untrusted');
  });

  it('EV-13: leads to any of the accepted authorities', async () => {
    const other: TrustAnchor = {
      name: 'another',
      certificate: issue('other', 'other', { extensions: authority() }),
      simulated: false,
    };
    // A change of keys leaves two authorities of one name.
    const renamed = issue('other', 'root', { subject: 'root', extensions: authority() });
    const namesake: TrustAnchor = { name: 'a namesake', certificate: renamed, simulated: false };
    expect(await verify({ anchors: [other, namesake, anchor] })).toBe(anchor);
    expect(await code({ anchors: [other] })).toBe('path-untrusted');
    expect(await code({ anchors: [namesake] })).toBe('path-untrusted');
  });

  it('EV-13: says which anchors there are where it leads to none', async () => {
    const untrusted = { code: 'path-untrusted', field: 'certificate' };
    expect(await refusal({ intermediates: [] })).toMatchObject({
      ...untrusted,
      expected: 'a path to the root',
    });
    expect((await refusal({ intermediates: [lower], anchors: [anchor, pinned] })).field).toBe('chain[0]');
    expect((await refusal({ anchors: [] })).expected).toContain('none is configured');
    expect(await refusal({ intermediates: [upper, lower] })).toMatchObject(untrusted);
  });

  it('EV-13: has at most six intermediates and nothing above its anchor', async () => {
    const six = [lower, upper, root, root, root, root];
    expect(await refusal({ intermediates: six })).toMatchObject({
      code: 'path-length',
      field: 'chain',
      expected: '3 certificates up to the root',
      found: '6 certificates',
    });
    expect(await refusal({ intermediates: [...six, root] })).toMatchObject({
      code: 'path-length',
      field: 'chain',
      expected: 'at most 6 intermediate certificates',
      found: '7',
    });
    const above = issue('other', 'other', { extensions: authority() });
    expect((await refusal({ intermediates: [lower, upper, above] })).expected).toMatch(/^2 certificates/);
    const nameOnly = issue('other', 'root', { subject: 'root', extensions: authority() });
    expect(await code({ intermediates: [lower, upper, nameOnly] })).toBe('path-length');
    const keyOnly = issue('root', 'root', { subject: 'other', extensions: authority() });
    expect(await code({ intermediates: [lower, upper, keyOnly] })).toBe('path-length');
  });

  it.each<[string, readonly Der[], string]>([
    ['no authority', [SIGNS_CERTIFICATES], 'a certificate that is no authority'],
    ['without keyCertSign', [extension('2.5.29.19', sequence(TRUE), true)], 'no keyCertSign'],
    [
      'with another usage',
      [
        extension('2.5.29.19', sequence(TRUE), true),
        extension('2.5.29.15', bitString(Uint8Array.of(0x80)), true),
      ],
      'no keyCertSign',
    ],
  ])('EV-13: is refused with a certificate in it that is %s', async (_, extensions, found) => {
    const intermediates = [issue('lower', 'upper', { extensions }), upper];
    expect(await refusal({ intermediates })).toMatchObject({
      code: 'path-authority',
      field: 'chain[0]',
      found,
    });
  });

  it('EV-13: counts the authorities below each, also below the anchor', async () => {
    const tight = issue('upper', 'root', { extensions: authority(0) });
    expect(await refusal({ intermediates: [lower, tight] })).toMatchObject({
      code: 'path-length',
      field: 'chain[1]',
      expected: 'at most 0 authorities below',
      found: '1',
    });
    const limited = (pathLength: number): TrustAnchor => ({
      ...anchor,
      certificate: issue('root', 'root', { extensions: authority(pathLength) }),
    });
    expect(await code({ anchors: [limited(2)] })).toBe('accepted');
    expect(await refusal({ anchors: [limited(1)] })).toMatchObject({
      code: 'path-length',
      expected: 'at most 1 authorities below',
      found: '2',
    });
  });

  it('EV-13: is refused where a signature is that of another', async () => {
    const forged = issue('lower', 'upper', { extensions: authority(), signer: 'other' });
    expect(await refusal({ intermediates: [forged, upper] })).toMatchObject({
      code: 'path-signature',
      field: 'chain[0]',
      expected: `a signature by the key with SHA-256 ${toHex(sha256(KEYS.upper.spki))}`,
    });
    expect((await refusal({ leaf: issue('leaf', 'lower', { signer: 'other' }) })).field).toBe('certificate');
    const byAnchor = issue('upper', 'root', { extensions: authority(), signer: 'other' });
    expect(await code({ intermediates: [lower, byAnchor] })).toBe('path-untrusted');
  });
});

describe('times of a certificate path', () => {
  it('EV-14: are inclusive at both ends', async () => {
    expect(await code({ time: FROM })).toBe('accepted');
    expect(await code({ time: UNTIL })).toBe('accepted');
    expect(await refusal({ time: FROM - 1 })).toMatchObject({
      code: 'path-validity',
      field: 'certificate',
      expected: `a time from ${FROM} to ${UNTIL}`,
      found: String(FROM - 1),
    });
    expect(await code({ time: UNTIL + 1 })).toBe('path-validity');
  });

  it('EV-14: may end where the operator says so, and may not begin later', async () => {
    expect(await code({ time: UNTIL + 1, validity: 'ignore-expiry' })).toBe('accepted');
    expect(await code({ time: FROM - 1, validity: 'ignore-expiry' })).toBe('path-validity');
  });

  it('EV-14: hold for every certificate but the anchor', async () => {
    const expired = { until: '260101000001Z' };
    const short = issue('lower', 'upper', { extensions: authority(), ...expired });
    expect((await refusal({ intermediates: [short, upper] })).field).toBe('chain[0]');
    const certificate = issue('root', 'root', { extensions: authority(), ...expired });
    expect(await code({ anchors: [{ ...anchor, certificate }] })).toBe('accepted');
  });
});

describe('critical extensions of a certificate path', () => {
  const unknown = extension('1.2.3', NULL, true);

  it('EV-13: are understood by the path, or by the caller in the leaf', async () => {
    const strange = issue('leaf', 'lower', { extensions: [unknown] });
    expect(await refusal({ leaf: strange })).toMatchObject({
      code: 'path-critical-extension',
      field: 'certificate',
      found: '1.2.3',
    });
    expect(await code({ leaf: strange, understoodLeafExtensions: ['1.2.3'] })).toBe('accepted');
    const ignored = issue('leaf', 'lower', { extensions: [extension('1.2.3', NULL)] });
    expect(await code({ leaf: ignored })).toBe('accepted');
    const policies = extension('2.5.29.32', sequence(), true);
    expect(await code({ leaf: issue('leaf', 'lower', { extensions: [policies, SIGNS_CERTIFICATES] }) })).toBe(
      'accepted',
    );
  });

  it('EV-13: of an authority are not for the caller to understand', async () => {
    const strange = issue('lower', 'upper', { extensions: [...authority(), unknown] });
    const understoodLeafExtensions = ['1.2.3'];
    expect(await refusal({ intermediates: [strange, upper], understoodLeafExtensions })).toMatchObject({
      code: 'path-critical-extension',
      field: 'chain[0]',
    });
  });
});

describe('anchors', () => {
  it('EV-13: count for their purpose alone', async () => {
    const values: TrustAnchor = { ...anchor, purpose: 'reference-values' };
    expect(anchorsFor('endorsements', [anchor, values])).toEqual([anchor]);
    expect(anchorsFor('reference-values', [anchor, values])).toEqual([values]);
    expect(await code({ anchors: [values] })).toBe('path-untrusted');
    expect(await verify({ anchors: [anchor, values], purpose: 'reference-values' })).toBe(values);
    const named: TrustAnchor = { ...anchor, purpose: 'endorsements' };
    expect(await verify({ anchors: [named] })).toBe(named);
  });

  it('are known by their keys', () => {
    expect(toHex(anchorDigest(anchor))).toBe(toHex(sha256(KEYS.root.spki)));
    expect(toHex(anchorDigest(pinned))).toBe(toHex(sha256(KEYS.root.spki)));
  });
});

describe('a certificate path with a memory', () => {
  it('is the same, and takes no signature twice', async () => {
    const memory = new CertificateMemory();
    const recalled = readCertificate(leaf, 'certificate');
    const inputs: PathInputs = {
      intermediates: [lower, upper, root],
      anchors: [pinned],
      time: TIME,
      validity: 'enforce',
      understoodLeafExtensions: [],
      memory,
    };
    const subtle = vi.spyOn(crypto.subtle, 'verify');
    expect(await verifyCertificatePath(recalled, inputs)).toBe(pinned);
    const first = subtle.mock.calls.length;
    expect(first).toBeGreaterThan(0);
    expect(await verifyCertificatePath(recalled, inputs)).toBe(pinned);
    expect(subtle.mock.calls.length).toBe(first);
    subtle.mockRestore();
    expect(await code({ ...inputs, time: UNTIL + 1 })).toBe('path-validity');
  });
});
