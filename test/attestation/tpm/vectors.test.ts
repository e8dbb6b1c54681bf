/** Real evidence and published key derivations, driven by the manifest of the vectors alone. */

import { webcrypto } from 'node:crypto';

import { describe, expect, it } from 'vitest';

import { concatBytes, equalBytes, fromHex, toHex, toUtf8 } from '../../../attestation/core/bytes.ts';
import { decode, encode } from '../../../attestation/core/layout.ts';
import { readSubjectPublicKeyInfo } from '../../../attestation/core/public-key.ts';
import type { PublicKey } from '../../../attestation/core/public-key.ts';
import { verifySignature } from '../../../attestation/core/signature.ts';
import { judge } from '../../../attestation/core/verdict.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { checkAttestationKey, publicKeyOf } from '../../../attestation/tpm/attestation-key.ts';
import type { SigningKey } from '../../../attestation/tpm/attestation-key.ts';
import {
  makeCredential,
  protectCredential,
  shareSeedByEcdh,
  shareSeedByRsa,
} from '../../../attestation/tpm/credential.ts';
import type { EndorsementPublicArea } from '../../../attestation/tpm/credential.ts';
import { verifyEndorsementCertificate } from '../../../attestation/tpm/endorsement-certificate.ts';
import { tpmHash } from '../../../attestation/tpm/hash.ts';
import { kdfA, kdfE } from '../../../attestation/tpm/kdf.ts';
import {
  Algorithm,
  attest,
  creationData,
  decodePublicArea,
  publicArea,
  publicAreaSized,
  signature,
} from '../../../attestation/tpm/layout.ts';
import type { PublicArea } from '../../../attestation/tpm/layout.ts';
import { computeName } from '../../../attestation/tpm/name.ts';
import { authenticateQuote } from '../../../attestation/tpm/quote.ts';
import { endorsementPublicArea } from '../../../attestation/tpm/templates.ts';
import { refusalCode } from '../../support/refusal-code.ts';
import { vectorEntries, vectorFile, vectorJson, vectorsMissing } from '../../support/vectors.ts';
import type { VectorEntry } from '../../support/vectors.ts';

const missing = vectorsMissing('tpm');
const file = (entry: VectorEntry<unknown>, name: string): Uint8Array => vectorFile('tpm', entry, name);
const bytesOf = (hex: string): Uint8Array => fromHex(hex.toLowerCase(), 'vector');

interface ExpectedAttest {
  readonly type: string;
  readonly qualifiedSigner: string;
  readonly extraData: string;
  readonly clock: string;
  readonly resetCount: number;
  readonly restartCount: number;
  readonly safe: number;
  readonly firmwareVersion: string;
  readonly pcrSelect?: readonly { readonly alg: string; readonly pcrs: readonly number[] }[];
  readonly pcrDigest?: string;
  readonly name?: string;
  readonly objectName?: string;
  readonly creationHash?: string;
}

function expectAttest(bytes: Uint8Array, expected: ExpectedAttest): void {
  const statement = decode(attest, bytes, 'attest');
  expect(encode(attest, statement, 'attest')).toEqual(bytes);
  expect({
    type: statement.type.toString(16),
    qualifiedSigner: toHex(statement.qualifiedSigner),
    extraData: toHex(statement.extraData),
    clock: statement.clockInfo.clock.toString(),
    resetCount: statement.clockInfo.resetCount,
    restartCount: statement.clockInfo.restartCount,
    safe: statement.clockInfo.safe,
    firmwareVersion: statement.firmwareVersion.toString(16).padStart(16, '0'),
  }).toMatchObject({
    type: expected.type,
    qualifiedSigner: expected.qualifiedSigner,
    extraData: expected.extraData,
    clock: expected.clock,
    resetCount: expected.resetCount,
    restartCount: expected.restartCount,
    safe: expected.safe,
    firmwareVersion: expected.firmwareVersion,
  });
}

const banks: Readonly<Record<string, number>> = { sha256: Algorithm.sha256, sha384: Algorithm.sha384 };

/** A quote of the vectors with what a verifier has to know about it from elsewhere. */
interface QuoteCase {
  readonly label: string;
  readonly attest: Uint8Array;
  readonly signature: Uint8Array;
  readonly key: SigningKey;
  readonly expected: ExpectedAttest;
  readonly pcrs: ReadonlyMap<number, Uint8Array> | undefined;
  readonly shouldHold: boolean;
}

interface QuoteExpected {
  readonly attest?: ExpectedAttest;
  readonly signature?: { readonly scheme: string; readonly hash: string };
  readonly pcrDigestMatches?: boolean | null;
  readonly byBank?: Readonly<
    Record<string, { readonly attest: ExpectedAttest; readonly signature: { readonly hash: string } }>
  >;
}

const rsaSha256 = { algorithm: 'rsassa-pkcs1', hash: 'SHA-256' } as const;

/** The attestation key: from its public area, a certificate, a bare key, or the report that names it. */
async function signingKey(entry: VectorEntry<unknown>): Promise<SigningKey> {
  const hash = tpmHash(Algorithm.sha256, 'key');
  if ('akPublic' in entry.files) {
    const area = decodePublicArea(file(entry, 'akPublic'), 'akPublic');
    let key: SigningKey | undefined;
    const verdict = await judge((checks) => (key = checkAttestationKey(area, checks)));
    if (key === undefined) throw new Error(JSON.stringify(verdict));
    return key;
  }
  const publicKey = bareKey(entry);
  const scheme = publicKey.type === 'ec' ? ({ algorithm: 'ecdsa', hash: 'SHA-256' } as const) : rsaSha256;
  return { publicKey, scheme, hash };
}

function bareKey(entry: VectorEntry<unknown>): PublicKey {
  if ('akSpki' in entry.files) return readSubjectPublicKeyInfo(file(entry, 'akSpki'), 'akSpki');
  if ('akCert' in entry.files) {
    const { subjectPublicKeyInfo } = readCertificate(file(entry, 'akCert'), 'akCert');
    return readSubjectPublicKeyInfo(subjectPublicKeyInfo, 'akCert');
  }
  const text = Buffer.from(file(entry, 'hclReport')).toString('latin1');
  const runtimeData = text.slice(text.indexOf('{"keys"'), text.lastIndexOf('}') + 1);
  const { keys: known } = JSON.parse(runtimeData) as {
    readonly keys: readonly { readonly kid: string; readonly n: string }[];
  };
  const modulus = known.find(({ kid }) => kid === 'HCLAkPub')?.n ?? '';
  return { type: 'rsa', modulus: new Uint8Array(Buffer.from(modulus, 'base64url')) };
}

function framedSignature(entry: VectorEntry<unknown>, suffix: string): Uint8Array {
  const name = `signature${suffix}`;
  if (name in entry.files) return file(entry, name);
  const raw = {
    algorithm: Algorithm.rsassa,
    hash: Algorithm.sha256,
    signature: file(entry, 'signatureRaw'),
  } as const;
  return encode(signature, raw, 'signature');
}

async function quoteCases(entry: VectorEntry<QuoteExpected>): Promise<readonly QuoteCase[]> {
  const { byBank, attest: single, signature: scheme } = entry.expected;
  const parts =
    byBank !== undefined
      ? Object.entries(byBank).map(([bank, part]) => ({ suffix: `_${bank}`, ...part }))
      : [{ suffix: '', attest: single!, signature: scheme! }];
  const values =
    'pcrs' in entry.files
      ? (vectorJson('tpm', entry, 'pcrs') as Readonly<Record<string, Readonly<Record<string, string>>>>)
      : undefined;
  if (parts.every((part) => part.signature.hash === 'sha1')) return [];
  const key = await signingKey(entry);
  return parts.map(({ suffix, attest: expected }) => {
    const bank = expected.pcrSelect?.[0]?.alg ?? '';
    const selected = expected.pcrSelect?.[0]?.pcrs ?? [];
    const pcrs = values && new Map(selected.map((pcr) => [pcr, bytesOf(values[bank]?.[pcr] ?? '')]));
    return {
      label: `${entry.id}${suffix}`,
      attest: file(entry, `attest${suffix}`),
      signature: framedSignature(entry, suffix),
      key,
      expected,
      pcrs,
      shouldHold: entry.verdict === 'valid' && pcrs !== undefined && bank in banks,
    };
  });
}

/** The code of the refusal or `accepted`, when the rest is as the vector says. */
async function outcome(
  quote: QuoteCase,
  changes: Partial<QuoteCase> = {},
  nonce?: Uint8Array,
): Promise<string> {
  const { attest: bytes, signature: framed, key, expected, pcrs } = { ...quote, ...changes };
  const select = expected.pcrSelect?.[0];
  const bank = tpmHash(banks[select?.alg ?? ''] ?? Algorithm.sha256, 'bank');
  const verdict = await judge((checks) =>
    authenticateQuote(
      { attest: bytes, signature: framed, bank: bank.bank, pcrs: pcrs ?? new Map() },
      {
        key,
        qualifiedSigners: [bytesOf(expected.qualifiedSigner)],
        extraData: nonce ?? bytesOf(expected.extraData),
        selection: { bank, pcrs: select?.pcrs ?? [] },
      },
      checks,
    ),
  );
  return verdict.outcome === 'accepted' ? 'accepted' : verdict.refusals[0].code;
}

const flipped = (bytes: Uint8Array, at: number, mask = 1): Uint8Array =>
  Uint8Array.from(bytes, (byte, i) => (i === at ? byte ^ mask : byte));

describe.skipIf(missing)(`vectors: quotes`, () => {
  const entries = [
    ...vectorEntries<QuoteExpected>('tpm', 'quote'),
    ...vectorEntries<QuoteExpected>('tpm', 'azure-vtpm'),
  ];

  it.each(entries)('EV-7: $id is read as its manifest says', (entry) => {
    const { byBank, attest: single } = entry.expected;
    if (single !== undefined) expectAttest(file(entry, 'attest'), single);
    for (const [bank, part] of Object.entries(byBank ?? {})) {
      expectAttest(file(entry, `attest_${bank}`), part.attest);
    }
    expect(single ?? byBank).toBeDefined();
  });

  it.each(entries)('EV-20 to EV-24: $id has the verdict of its manifest', async (entry) => {
    const cases = await quoteCases(entry);
    for (const quote of cases) {
      const found = await outcome(quote);
      if (quote.shouldHold)
        expect({ label: quote.label, found }).toEqual({ label: quote.label, found: 'accepted' });
      else expect(found).not.toBe('accepted');
    }
    if (cases.length === 0) {
      const area = decodePublicArea(file(entry, 'akPublic'), 'akPublic');
      expect(await judge((checks) => checkAttestationKey(area, checks))).toMatchObject({
        outcome: 'refused',
        refusals: [{ code: 'tpm-hash' }],
      });
    }
  });

  it.each(entries)('EV-20 to EV-24: $id is refused after each mutation', async (entry) => {
    const other = await crypto.subtle.generateKey(
      {
        name: 'RSASSA-PKCS1-v1_5',
        modulusLength: 2048,
        publicExponent: Uint8Array.of(1, 0, 1),
        hash: 'SHA-256',
      },
      true,
      ['sign', 'verify'],
    );
    const jwk = await crypto.subtle.exportKey('jwk', other.publicKey);
    const modulus = new Uint8Array(Buffer.from(jwk.n ?? '', 'base64url'));
    for (const quote of (await quoteCases(entry)).filter(({ shouldHold }) => shouldHold)) {
      const { attest: bytes, signature: framed, pcrs } = quote;
      const [firstPcr = 0, firstValue = new Uint8Array()] = [...pcrs!][0] ?? [];
      const certify = Uint8Array.from(bytes, (byte, i) => (i === 5 ? 0x17 : byte));
      const mutations: readonly (readonly [string, Promise<string>, RegExp])[] = [
        ['flip byte 46', outcome(quote, { attest: flipped(bytes, 46) }), /^tpm-quote-signature$/],
        [
          'flip digest',
          outcome(quote, { attest: flipped(bytes, bytes.length - 1) }),
          /^tpm-quote-signature$/,
        ],
        ['magic', outcome(quote, { attest: flipped(bytes, 0, 0xff) }), /^tpm-quote-magic$/],
        ['type', outcome(quote, { attest: certify }), /^(?:layout-.*|tpm-quote-type)$/],
        ['append', outcome(quote, { attest: concatBytes(bytes, new Uint8Array(1)) }), /^layout-trailing$/],
        ['cut', outcome(quote, { attest: bytes.subarray(0, -1) }), /^layout-truncated$/],
        [
          'signature',
          outcome(quote, { signature: flipped(framed, framed.length - 1) }),
          /^tpm-quote-signature$/,
        ],
        ['nonce', outcome(quote, {}, new Uint8Array(32)), /^tpm-quote-binding$/],
        [
          'key',
          outcome(quote, { key: { ...quote.key, publicKey: { type: 'rsa', modulus } } }),
          /^tpm-quote-signature$/,
        ],
        [
          'value',
          outcome(quote, { pcrs: new Map([...pcrs!, [firstPcr, flipped(firstValue, 0)]]) }),
          /^tpm-quote-digest$/,
        ],
      ];
      for (const [change, result, code] of mutations)
        expect({ change, code: await result }).toMatchObject({ code: expect.stringMatching(code) as string });
    }
    expect(jwk.n).toBeDefined();
  });

  it.each(vectorEntries<QuoteExpected>('tpm', 'quote-parse'))('EV-7: $id is read and refused', (entry) => {
    expectAttest(file(entry, 'attest'), entry.expected.attest!);
  });
});

interface ObjectExpected {
  readonly attest: ExpectedAttest;
  readonly object?: { readonly name: string };
  readonly hash?: string;
}

describe.skipIf(missing)('vectors: other statements', () => {
  it.each(vectorEntries<ObjectExpected>('tpm', 'certify'))('EV-8: $id names the object', async (entry) => {
    expectAttest(file(entry, 'certInfo'), entry.expected.attest);
    const area = decodePublicArea(file(entry, 'publicArea'), 'publicArea');
    expect(toHex(computeName(area))).toBe(entry.expected.attest.name);
    const { subjectPublicKeyInfo } = readCertificate(file(entry, 'aikCert'), 'aik');
    const key = readSubjectPublicKeyInfo(subjectPublicKeyInfo, 'aik');
    const holds = await verifySignature(key, rsaSha256, file(entry, 'signatureRaw'), file(entry, 'certInfo'));
    // A signature with SHA-1 cannot be expressed, so it does not hold.
    expect(holds).toBe(entry.expected.hash === 'sha256');
    const verdict = await judge((checks) => checkAttestationKey(area, checks));
    expect(verdict).toMatchObject({ outcome: 'refused', refusals: [{ code: 'tpm-ak-attributes' }] });
  });

  it.each(vectorEntries<ObjectExpected>('tpm', 'creation'))('EV-8: $id names key and creation', (entry) => {
    const { attest: expected } = entry.expected;
    expectAttest(file(entry, 'attest'), expected);
    const area = decodePublicArea(file(entry, 'akPublic'), 'akPublic');
    expect(toHex(computeName(area))).toBe(expected.objectName);
    const data = file(entry, 'creationData');
    expect(encode(creationData, decode(creationData, data, 'creation'), 'creation')).toEqual(data);
    expect(toHex(tpmHash(area.nameAlgorithm, 'name').digest(data))).toBe(expected.creationHash);
  });

  it.each(vectorEntries<{ readonly name: string; readonly publishedName?: string }>('tpm', 'name'))(
    'EV-8: $id has the Name of its public area',
    (entry) => {
      const bytes = file(entry, 'publicArea');
      const area = decodePublicArea(bytes, 'publicArea');
      expect(encode(publicArea, area, 'publicArea')).toEqual(bytes);
      expect(toHex(computeName(area))).toBe(entry.expected.name);
      if (entry.verdict === 'invalid')
        expect(toHex(computeName(area))).not.toBe(entry.expected.publishedName);
      if ('cert' in entry.files) {
        const { subjectPublicKeyInfo } = readCertificate(file(entry, 'cert'), 'cert');
        const rebuilt = endorsementPublicArea('L-1', readSubjectPublicKeyInfo(subjectPublicKeyInfo, 'cert'));
        expect(encode(publicArea, rebuilt, 'ek')).toEqual(bytes);
      }
    },
  );
});

interface EndorsementExpected {
  readonly derLength: number;
  readonly spkiAlgorithm: string;
  readonly san?: Readonly<Record<string, string>>;
}

describe.skipIf(missing)('vectors: endorsement certificates', () => {
  const entries = vectorEntries<EndorsementExpected>('tpm', 'ekcert');
  const certificatesOf = (entry: VectorEntry<unknown>): readonly Uint8Array[] =>
    Object.keys(entry.files)
      .filter((name) => /^ca\d$/.test(name))
      .sort()
      .map((name) => file(entry, name));

  it.each(entries)('EV-12 to EV-15: $id has the verdict of its manifest', async (entry) => {
    const chain = certificatesOf(entry);
    const root = chain.at(-1);
    const anchors = root === undefined ? [] : [{ name: 'vendor', certificate: root, simulated: false }];
    const inputs = {
      intermediates: chain.slice(0, -1),
      anchors,
      time: 1_750_000_000,
      validity: 'enforce',
    } as const;
    const verdict = await verifyEndorsementCertificate(file(entry, 'cert'), inputs);
    const isAcceptable =
      entry.verdict === 'valid' &&
      root !== undefined &&
      entry.expected.spkiAlgorithm !== '1.2.840.113549.1.1.7';
    if (verdict.outcome === 'refused') {
      expect({ id: entry.id, isAcceptable, refusals: verdict.refusals }).toMatchObject({
        isAcceptable: false,
      });
      return;
    }
    expect({ id: entry.id, isAcceptable }).toEqual({ id: entry.id, isAcceptable: true });
    expect(verdict.claims.manufacturer).toBe(entry.expected.san?.['2.23.133.2.1']);
    expect(verdict.claims.model).toBe(entry.expected.san?.['2.23.133.2.2']);
  });

  it.each(entries)('EV-12: $id with any one byte changed is never accepted', async (entry) => {
    const chain = certificatesOf(entry);
    const anchors = chain.slice(-1).map((certificate) => ({ name: 'vendor', certificate, simulated: false }));
    const inputs = {
      intermediates: chain.slice(0, -1),
      anchors,
      time: 1_750_000_000,
      validity: 'enforce',
    } as const;
    const bytes = file(entry, 'cert').subarray(0, entry.expected.derLength);
    for (let at = 0; at < bytes.length; at += 3) {
      const verdict = await verifyEndorsementCertificate(flipped(bytes, at), inputs);
      expect({ at, outcome: verdict.outcome }).toEqual({ at, outcome: 'refused' });
    }
  });
});

interface KdfVector {
  readonly Name: string;
  readonly HashAlg: number;
  readonly Key: string;
  readonly Z: string;
  readonly Label: string;
  readonly ContextU: string;
  readonly ContextV: string;
  readonly Bits: number;
  readonly Result: string;
}

interface EncapsulationVector {
  readonly Name: string;
  readonly Label: string;
  readonly EphemeralPrivate?: string;
  readonly PublicKey: string;
  readonly PrivateKey: string;
  readonly Secret: string;
  readonly Ciphertext: string;
}

interface CredentialVector {
  readonly ekPublicTpm2b: string;
  readonly akName: string;
  readonly credential: string;
  readonly ephemeralPrivate?: string;
  readonly seed: string;
  readonly idObject: string;
  readonly encryptedSecret?: string;
}

function endorsementArea(area: PublicArea): EndorsementPublicArea {
  if (area.type === Algorithm.keyedHash) throw new Error('no endorsement key');
  return area;
}

describe.skipIf(missing)('vectors: credentials', () => {
  const kinds = [
    [
      'kdfa',
      (vector: KdfVector) => kdfA(tpmHash(vector.HashAlg, 'h'), bytesOf(vector.Key), ...kdfTail(vector)),
    ],
    [
      'kdfe',
      (vector: KdfVector) => kdfE(tpmHash(vector.HashAlg, 'h'), bytesOf(vector.Z), ...kdfTail(vector)),
    ],
  ] as const;
  const kdfTail = (vector: KdfVector) =>
    [vector.Label, bytesOf(vector.ContextU), bytesOf(vector.ContextV), vector.Bits] as const;

  it.each(kinds)('EV-16: %s gives the published keys', (kind, derive) => {
    const vectors = vectorEntries('tpm', kind).flatMap(
      (entry) => vectorJson('tpm', entry, 'vectors') as KdfVector[],
    );
    expect(vectors.length).toBeGreaterThan(0);
    for (const vector of vectors) {
      if (vector.HashAlg === Algorithm.sha1) expect(refusalCode(() => derive(vector))).toBe('tpm-hash');
      else
        expect({ name: vector.Name, key: toHex(derive(vector)) }).toEqual({
          name: vector.Name,
          key: vector.Result,
        });
    }
  });

  it('EV-16: seeds are shared as published, with ECC and RSA keys', async () => {
    const vectors = vectorEntries('tpm', 'encaps').flatMap(
      (entry) => vectorJson('tpm', entry, 'vectors') as EncapsulationVector[],
    );
    expect(vectors.length).toBeGreaterThan(0);
    for (const vector of vectors) await checkEncapsulation(vector);
  });

  it.each(vectorEntries('tpm', 'credential'))('EV-16: $id is reproduced', async (entry) => {
    const vector = vectorJson('tpm', entry, 'vector') as CredentialVector;
    const ek = endorsementArea(decode(publicAreaSized, bytesOf(vector.ekPublicTpm2b), 'ek'));
    const [name, secret, seed] = [bytesOf(vector.akName), bytesOf(vector.credential), bytesOf(vector.seed)];
    expect(toHex(protectCredential(ek, seed, name, secret))).toBe(vector.idObject);
    const key = publicKeyOf(ek);
    if (key.type === 'ec') {
      const hash = tpmHash(ek.nameAlgorithm, 'ek');
      const shared = shareSeedByEcdh(key, hash, 'IDENTITY', bytesOf(vector.ephemeralPrivate ?? ''));
      expect(toHex(shared.seed)).toBe(vector.seed);
      expect(toHex(shared.encryptedSecret)).toBe(vector.encryptedSecret);
    } else {
      expect(toHex((await makeCredential(ek, name, secret, seed)).credentialBlob)).toBe(vector.idObject);
    }
  });
});

async function checkEncapsulation(vector: EncapsulationVector): Promise<void> {
  const area = endorsementArea(decodePublicArea(bytesOf(vector.PublicKey), vector.Name));
  if (area.nameAlgorithm === Algorithm.sha1) {
    expect(refusalCode(() => tpmHash(area.nameAlgorithm, vector.Name))).toBe('tpm-hash');
    return;
  }
  const hash = tpmHash(area.nameAlgorithm, vector.Name);
  const key = publicKeyOf(area);
  if (key.type === 'ec') {
    const shared = shareSeedByEcdh(key, hash, vector.Label, bytesOf(vector.EphemeralPrivate ?? ''));
    expect(toHex(shared.seed)).toBe(vector.Secret);
    expect(toHex(shared.encryptedSecret)).toBe(vector.Ciphertext);
    return;
  }
  // A key with an OAEP scheme of its own uses the hash of the scheme; endorsement keys have none.
  const { scheme } = area.parameters;
  const oaep = scheme.algorithm === Algorithm.oaep ? scheme.hash : area.nameAlgorithm;
  if (oaep === Algorithm.sha1) return;
  const oaepHash = tpmHash(oaep, vector.Name);
  const privateKey = await rsaPrivateKey(key.modulus, bytesOf(vector.PrivateKey), oaepHash.name);
  const algorithm = { name: 'RSA-OAEP', label: toUtf8(`${vector.Label}\0`) };
  const open = async (ciphertext: Uint8Array): Promise<string> =>
    toHex(new Uint8Array(await webcrypto.subtle.decrypt(algorithm, privateKey, new Uint8Array(ciphertext))));
  expect(await open(bytesOf(vector.Ciphertext))).toBe(vector.Secret);
  const shared = await shareSeedByRsa(key, oaepHash, vector.Label, bytesOf(vector.Secret));
  expect(await open(shared.encryptedSecret)).toBe(vector.Secret);
  expect(equalBytes(shared.encryptedSecret, bytesOf(vector.Ciphertext))).toBe(false);
}

/** TPMT_SENSITIVE ends in one prime; the rest of the private key follows from it. */
async function rsaPrivateKey(modulus: Uint8Array, sensitive: Uint8Array, hash: string) {
  const big = (bytes: Uint8Array): bigint => BigInt(`0x${toHex(bytes)}`);
  const text = (value: bigint): string => {
    const hex = value.toString(16);
    return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex').toString('base64url');
  };
  const p = big(sensitive.subarray(-modulus.length / 2));
  const q = big(modulus) / p;
  const d = inverse(65537n, (p - 1n) * (q - 1n));
  const jwk = {
    kty: 'RSA',
    e: 'AQAB',
    n: text(big(modulus)),
    d: text(d),
    p: text(p),
    q: text(q),
    dp: text(d % (p - 1n)),
    dq: text(d % (q - 1n)),
    qi: text(inverse(q, p)),
  };
  return webcrypto.subtle.importKey('jwk', jwk, { name: 'RSA-OAEP', hash }, false, ['decrypt']);
}

function inverse(value: bigint, modulus: bigint): bigint {
  let [r0, r1, t0, t1] = [modulus, value % modulus, 0n, 1n];
  while (r1 > 0n) [r0, r1, t0, t1] = [r1, r0 % r1, t1, t0 - (r0 / r1) * t1];
  if (r0 !== 1n) throw new Error('no inverse');
  return ((t0 % modulus) + modulus) % modulus;
}
