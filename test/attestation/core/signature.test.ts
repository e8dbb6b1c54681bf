import { constants, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';

import { describe, expect, it } from 'vitest';

import { concatBytes, toHex } from '../../../attestation/core/bytes.ts';
import { readSubjectPublicKeyInfo, rsaPublicKey } from '../../../attestation/core/public-key.ts';
import type { EcPublicKey, PublicKey } from '../../../attestation/core/public-key.ts';
import { isRefusal } from '../../../attestation/core/refusal.ts';
import {
  joinEcdsaSignature,
  leftPadded,
  readEcdsaSignature,
  toBase64Url,
  verifySignature,
} from '../../../attestation/core/signature.ts';
import type { HashName, SignatureScheme } from '../../../attestation/core/signature.ts';
import { bitString, identifier, integer, NULL, sequence } from '../../support/der-writer.ts';
import type { Der } from '../../support/der-writer.ts';
import { keptRsaKey } from '../../support/kept-keys.ts';
import { refusalOf, refusalOfAsync } from '../../support/refusal-code.ts';

const MESSAGE = Uint8Array.of(1, 2, 3);
const HASHES = ['SHA-256', 'SHA-384', 'SHA-512'] as const;

const rsa = keptRsaKey('signatures');
const rsaKey = readSubjectPublicKeyInfo(createPublicKey(rsa).export({ type: 'spki', format: 'der' }), 'key');
const curves = (['P-256', 'P-384', 'P-521'] as const).map((curve) => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: curve });
  const key = readSubjectPublicKeyInfo(
    Uint8Array.from(publicKey.export({ type: 'spki', format: 'der' })),
    'key',
  );
  return { curve, privateKey, key: key as EcPublicKey };
});
const [p256] = curves as [(typeof curves)[number]];

function signRsa(hash: HashName, saltLength?: number): Uint8Array {
  const name = hash.replace('-', '');
  if (saltLength === undefined) return sign(name, MESSAGE, rsa);
  return sign(name, MESSAGE, { key: rsa, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
}

const pss = (hash: HashName): SignatureScheme => ({ algorithm: 'rsa-pss', hash });
const pkcs1 = (hash: HashName): SignatureScheme => ({ algorithm: 'rsassa-pkcs1', hash });

describe('RSA signatures', () => {
  it.each(HASHES)('EV-10: hold with %s in both paddings, each under its own name', async (hash) => {
    const saltLength = Number(hash.slice(4)) / 8;
    expect(await verifySignature(rsaKey, pkcs1(hash), signRsa(hash), MESSAGE)).toBe(true);
    expect(await verifySignature(rsaKey, pss(hash), signRsa(hash, saltLength), MESSAGE)).toBe(true);
    expect(await verifySignature(rsaKey, pss(hash), signRsa(hash), MESSAGE)).toBe(false);
    expect(await verifySignature(rsaKey, pkcs1(hash), signRsa(hash, saltLength), MESSAGE)).toBe(false);
    expect(await verifySignature(rsaKey, pkcs1(hash), signRsa(hash), Uint8Array.of(1))).toBe(false);
  });

  it('EV-10: have a salt as long as the hash or the longest that fits, and no other', async () => {
    const holds = (saltLength: number): Promise<boolean> =>
      verifySignature(rsaKey, pss('SHA-256'), signRsa('SHA-256', saltLength), MESSAGE);
    const longest = 512 - 2 - 32;
    expect(await holds(longest)).toBe(true);
    for (const saltLength of [0, 20, 31, 33, longest - 1]) expect(await holds(saltLength)).toBe(false);
  });

  it('EV-10: do not hold with another hash', async () => {
    expect(await verifySignature(rsaKey, pkcs1('SHA-384'), signRsa('SHA-256'), MESSAGE)).toBe(false);
  });
});

describe('ECDSA signatures', () => {
  it.each(curves)('EV-10: hold on $curve', async ({ curve, privateKey, key }) => {
    const der = sign('sha384', MESSAGE, privateKey);
    const signature = readEcdsaSignature(der, curve, 'signature');
    const raw = sign('sha384', MESSAGE, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    const ecdsa: SignatureScheme = { algorithm: 'ecdsa', hash: 'SHA-384' };
    expect(signature.length).toBe(raw.length);
    expect(await verifySignature(key, ecdsa, signature, MESSAGE)).toBe(true);
    expect(await verifySignature(key, ecdsa, raw, MESSAGE)).toBe(true);
    expect(await verifySignature(key, ecdsa, raw, Uint8Array.of(1))).toBe(false);
    expect(await verifySignature(key, { ...ecdsa, hash: 'SHA-256' }, raw, MESSAGE)).toBe(false);
  });

  it('EV-11: are not looked at under a point off the curve', async () => {
    const key: EcPublicKey = { ...p256.key, y: p256.key.y.with(31, (p256.key.y[31] ?? 0) ^ 1) };
    const action = () =>
      verifySignature(key, { algorithm: 'ecdsa', hash: 'SHA-256' }, new Uint8Array(64), MESSAGE);
    expect(await refusalOfAsync(action)).toMatchObject({ code: 'public-key-invalid', field: 'publicKey' });
    const error: unknown = await action().catch((thrown: unknown) => thrown);
    expect(isRefusal(error) && error.cause).toBeInstanceOf(Error);
  });

  it('are pairs of numbers, whatever zeros stand before them', () => {
    const joined = joinEcdsaSignature('P-256', Uint8Array.of(0, 0, 1, 0), Uint8Array.of(2));
    expect(toHex(joined)).toBe('0100'.padStart(64, '0') + '02'.padStart(64, '0'));
    const der = sequence(integer(0, 0x80), integer(2));
    expect(toHex(readEcdsaSignature(der, 'P-256', 'x'))).toBe(
      '80'.padStart(64, '0') + '02'.padStart(64, '0'),
    );
    expect(
      refusalOf(() => readEcdsaSignature(sequence(integer(1), integer(1), NULL), 'P-256', 'x')),
    ).toMatchObject({ code: 'der-trailing', field: 'x' });
  });

  it('have numbers no wider than the field', () => {
    const wide = new Uint8Array(33).fill(1);
    const one = Uint8Array.of(1);
    expect(refusalOf(() => joinEcdsaSignature('P-256', wide, one))).toMatchObject({
      code: 'signature-length',
      field: 'signature.r',
      expected: 'a number of at most 32 bytes',
      found: '01'.repeat(16),
    });
    expect(refusalOf(() => joinEcdsaSignature('P-256', one, wide)).field).toBe('signature.s');
    expect(joinEcdsaSignature('P-384', wide, one).length).toBe(96);
    expect(toHex(leftPadded(wide.subarray(1), 32, 'x'))).toBe('01'.repeat(32));
    expect(toHex(leftPadded(new Uint8Array(5), 2, 'x'))).toBe('0000');
  });
});

describe('a signature', () => {
  it('EV-10: is refused under a scheme of another type of key', async () => {
    const refusal = (key: PublicKey, scheme: SignatureScheme) =>
      refusalOfAsync(() => verifySignature(key, scheme, new Uint8Array(64), MESSAGE));
    expect(await refusal(p256.key, pkcs1('SHA-256'))).toMatchObject({
      code: 'signature-key-type',
      field: 'signature',
      expected: 'a scheme for ec keys',
      found: 'rsassa-pkcs1',
    });
    expect(await refusal(rsaKey, { algorithm: 'ecdsa', hash: 'SHA-256' })).toMatchObject({
      code: 'signature-key-type',
      found: 'ecdsa',
    });
  });

  it('EV-10: is as long as its key demands', async () => {
    const refusal = (key: PublicKey, scheme: SignatureScheme, length: number) =>
      refusalOfAsync(() => verifySignature(key, scheme, new Uint8Array(length), MESSAGE));
    const facts = { code: 'signature-length', field: 'signature' };
    for (const length of [511, 513]) {
      expect(await refusal(rsaKey, pkcs1('SHA-256'), length)).toMatchObject({
        ...facts,
        expected: '512 bytes',
        found: `${length} bytes`,
      });
    }
    for (const { curve, key } of curves) {
      const length = { 'P-256': 64, 'P-384': 96, 'P-521': 132 }[curve];
      const found = await refusal(key, { algorithm: 'ecdsa', hash: 'SHA-256' }, length - 1);
      expect(found).toMatchObject({ ...facts, expected: `${length} bytes`, found: `${length - 1} bytes` });
    }
  });

  it('writes base64url without padding', () => {
    expect(toBase64Url(Uint8Array.of(0xfb, 0xff, 0xfe, 0xfb))).toBe('-__--w');
    expect(toBase64Url(Uint8Array.of(0xfb, 0xff, 0xbf, 1, 2))).toBe('-_-_AQI');
  });
});

const modulusOf = (length: number, first: number, last = 1): Uint8Array =>
  new Uint8Array(length).with(0, first).with(length - 1, last);

describe('RSA keys', () => {
  it.each([
    ['2048 bits', 256, 0x80],
    ['4096 bits', 512, 0xff],
  ])('EV-11: may have %s', (_, length, first) => {
    const modulus = modulusOf(length, first);
    expect(rsaPublicKey(modulus, 65537, 'key')).toEqual({ type: 'rsa', modulus });
  });

  it.each([
    ['2047 bits', 256, 0x7f],
    ['4097 bits', 513, 0x01],
  ])('EV-11: may not have %s', (found, length, first) => {
    expect(refusalOf(() => rsaPublicKey(modulusOf(length, first), 65537, 'key'))).toMatchObject({
      code: 'public-key-unsupported',
      field: 'key',
      found,
    });
  });

  it('EV-11: have the exponent 65537 and an odd modulus without zeros before it', () => {
    expect(refusalOf(() => rsaPublicKey(modulusOf(256, 0x80), 3, 'key'))).toMatchObject({
      code: 'public-key-unsupported',
      field: 'key',
      found: '3',
    });
    const invalid = { code: 'public-key-invalid', field: 'key' };
    expect(refusalOf(() => rsaPublicKey(modulusOf(256, 0x80, 2), 65537, 'key'))).toMatchObject(invalid);
    expect(refusalOf(() => rsaPublicKey(modulusOf(257, 0), 65537, 'key'))).toMatchObject(invalid);
    expect(refusalOf(() => rsaPublicKey(new Uint8Array(0), 65537, 'key')).code).toBe(
      'public-key-unsupported',
    );
  });
});

describe('SubjectPublicKeyInfo', () => {
  const RSA = identifier('1.2.840.113549.1.1.1');
  const EC = identifier('1.2.840.10045.2.1');
  const P256 = identifier('1.2.840.10045.3.1.7');
  const exponent = integer(1, 0, 1);
  const modulus = integer(0, ...modulusOf(256, 0x80));
  const rsaBits = bitString(sequence(modulus, exponent));
  const point = concatBytes(Uint8Array.of(4), p256.key.x, p256.key.y);
  const refusal = (...members: readonly Der[]) =>
    refusalOf(() => readSubjectPublicKeyInfo(sequence(...members), 'key'));

  it('EV-11: is read', () => {
    expect(readSubjectPublicKeyInfo(sequence(sequence(RSA, NULL), rsaBits), 'key')).toEqual({
      type: 'rsa',
      modulus: modulusOf(256, 0x80),
    });
    expect(readSubjectPublicKeyInfo(sequence(sequence(EC, P256), bitString(point)), 'key')).toEqual(p256.key);
  });

  it('EV-12: with something behind any part is refused', () => {
    const trailing = { code: 'der-trailing' };
    expect(refusal(sequence(RSA, NULL, NULL), rsaBits)).toMatchObject({
      ...trailing,
      field: 'key.algorithm',
    });
    expect(refusal(sequence(RSA, NULL), rsaBits, NULL)).toMatchObject({ ...trailing, field: 'key' });
    expect(refusal(sequence(RSA, NULL), bitString(sequence(modulus, exponent, NULL)))).toMatchObject({
      ...trailing,
      field: 'key.subjectPublicKey',
    });
    expect(refusal(sequence(EC, P256, NULL), bitString(point))).toMatchObject(trailing);
    expect(refusal(sequence(RSA), rsaBits).code).toBe('der-truncated');
  });

  it('EV-11: of other algorithms and curves is refused', () => {
    const ed25519 = refusal(sequence(identifier('1.3.101.112')), bitString(point));
    expect(ed25519).toMatchObject({ code: 'public-key-unsupported', field: 'key', found: '1.3.101.112' });
    const k1 = refusal(sequence(EC, identifier('1.3.132.0.10')), bitString(point));
    expect(k1).toMatchObject({ code: 'public-key-unsupported', field: 'key', found: '1.3.132.0.10' });
  });

  it.each([
    ['a byte less', point.subarray(0, 64), '64 bytes that start with 04'],
    ['a byte more', concatBytes(point, Uint8Array.of(0)), '66 bytes that start with 04'],
    ['a compressed form', point.with(0, 2), '65 bytes that start with 02'],
  ])('EV-11: with a point of %s is refused', (_, bytes, found) => {
    expect(refusal(sequence(EC, P256), bitString(bytes))).toMatchObject({
      code: 'public-key-invalid',
      field: 'key',
      expected: 'an uncompressed point of 65 bytes',
      found,
    });
  });
});
