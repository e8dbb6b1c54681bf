import { describe, expect, it } from 'vitest';

import { toHex } from '../../../attestation/core/bytes.ts';
import { nameAttributes } from '../../../attestation/core/distinguished-name.ts';
import { readElement, Tag } from '../../../attestation/core/der.ts';
import { readCertificate, readSignatureScheme } from '../../../attestation/core/x509.ts';
import type { Certificate } from '../../../attestation/core/x509.ts';
import {
  bitString,
  commonName,
  der,
  ECDSA_SHA256,
  explicit,
  extension,
  FALSE,
  identifier,
  integer,
  MEMBERS,
  nameOf,
  NOTHING,
  NULL,
  octetString,
  sequence,
  set,
  signed,
  tbsOf,
  TRUE,
  utcTime,
} from '../../support/der-writer.ts';
import type { CertificateMembers, Der } from '../../support/der-writer.ts';
import { refusalCode, refusalOf } from '../../support/refusal-code.ts';

const SIGNATURE = Uint8Array.of(0xaa, 0xbb);

const read = (changes: Partial<CertificateMembers> = {}): Certificate =>
  readCertificate(signed(tbsOf(changes), ECDSA_SHA256, SIGNATURE), 'leaf');
const withExtensions = (...extensions: readonly Der[]): Certificate =>
  read({ extensions: explicit(3, sequence(...extensions)) });

describe('a certificate', () => {
  it('EV-12: is read as its members say', () => {
    const bytes = signed(tbsOf(), ECDSA_SHA256, SIGNATURE);
    const certificate = readCertificate(bytes, 'leaf');
    expect(certificate).toMatchObject({
      encoded: bytes,
      tbsCertificate: tbsOf(),
      serialNumber: Uint8Array.of(7),
      issuer: MEMBERS.issuer,
      subject: MEMBERS.subject,
      notBefore: Date.UTC(2026, 0) / 1000,
      notAfter: Date.UTC(2027, 0) / 1000,
      subjectPublicKeyInfo: MEMBERS.publicKey,
      isAuthority: false,
      pathLength: undefined,
      keyUsage: undefined,
      extendedKeyUsage: undefined,
      signatureScheme: { algorithm: 'ecdsa', hash: 'SHA-256' },
      signature: SIGNATURE,
    });
    expect(certificate.extensions.size).toBe(0);
  });

  it.each([
    ['no version', NOTHING, 'version 1'],
    ['version 1, which DER leaves out', explicit(0, integer(0)), 'version 1'],
    ['version 2', explicit(0, integer(1)), 'version 2'],
    ['version 4', explicit(0, integer(3)), 'version 4'],
  ])('EV-12: of %s is refused', (_, version, found) => {
    expect(refusalOf(() => read({ version }))).toMatchObject({
      code: 'certificate-version',
      field: 'leaf.tbsCertificate',
      expected: 'version 3',
      found,
    });
  });

  const twoTimes = [utcTime('260101000000Z'), utcTime('270101000000Z')] as const;
  it.each<[string, Partial<CertificateMembers>, string]>([
    ['the version', { version: explicit(0, integer(2), NULL) }, 'leaf.tbsCertificate.version'],
    ['the validity', { validity: sequence(...twoTimes, NULL) }, 'leaf.tbsCertificate.validity'],
    ['the extensions', { extensions: explicit(3, sequence(), NULL) }, 'leaf.tbsCertificate.extensions'],
    ['what is signed', { rest: NULL }, 'leaf.tbsCertificate'],
  ])('EV-12: with something behind %s is refused', (_, changes, field) => {
    expect(refusalOf(() => read(changes))).toMatchObject({ code: 'der-trailing', field });
  });

  it('EV-12: with something behind its signature is refused', () => {
    const bytes = signed(tbsOf(), ECDSA_SHA256, SIGNATURE, NULL);
    expect(refusalOf(() => readCertificate(bytes, 'leaf'))).toMatchObject({
      code: 'der-trailing',
      field: 'leaf',
    });
  });

  it('EV-12: that names two algorithms is refused', () => {
    const innerAlgorithm = sequence(identifier('1.2.840.10045.4.3.3'));
    expect(refusalOf(() => read({ innerAlgorithm }))).toMatchObject({
      code: 'certificate-algorithm',
      field: 'leaf.tbsCertificate.signature',
    });
  });
});

describe('extensions of a certificate', () => {
  it('EV-12: are read with what they hold and whether they are critical', () => {
    const value = Uint8Array.of(1, 2);
    const { extensions } = withExtensions(
      extension('1.2.3', value),
      extension('1.2.4', value, true),
      extension('1.2.5', value, false),
    );
    expect([...extensions]).toEqual([
      ['1.2.3', { isCritical: false, value }],
      ['1.2.4', { isCritical: true, value }],
      ['1.2.5', { isCritical: false, value }],
    ]);
  });

  it('EV-12: stand there once, and are at most 32', () => {
    const many = (count: number): readonly Der[] =>
      Array.from({ length: count }, (_, i) => extension(`1.2.${i}`, Uint8Array.of(i)));
    expect(withExtensions(...many(32)).extensions.size).toBe(32);
    const facts = { code: 'certificate-extension', field: 'leaf.tbsCertificate.extensions.list' };
    expect(refusalOf(() => withExtensions(...many(33)))).toMatchObject(facts);
    const twice = [extension('1.2.3', NULL), extension('1.2.3', NULL)];
    expect(refusalOf(() => withExtensions(...twice))).toMatchObject(facts);
  });

  it('EV-12: have nothing behind their value', () => {
    const longer = sequence(identifier('1.2.3'), octetString(NULL), NULL);
    expect(refusalOf(() => withExtensions(longer))).toMatchObject({
      code: 'der-trailing',
      field: 'leaf.tbsCertificate.extensions.list.extension',
    });
  });
});

describe('basic constraints', () => {
  const of = (...members: readonly Der[]): Certificate =>
    withExtensions(extension('2.5.29.19', sequence(...members), true));

  it.each<[string, readonly Der[], boolean, number | undefined]>([
    ['nothing', [], false, undefined],
    ['cA as false', [FALSE], false, undefined],
    ['cA', [TRUE], true, undefined],
    ['cA and a path length of 0', [TRUE, integer(0)], true, 0],
    ['cA and a path length', [TRUE, integer(3)], true, 3],
  ])('EV-13: with %s are read', (_, members, isAuthority, pathLength) => {
    expect(of(...members)).toMatchObject({ isAuthority, pathLength });
  });

  it.each([
    ['a path length without cA', () => of(integer(0)), 'certificate-extension'],
    ['a path length and cA as false', () => of(FALSE, integer(0)), 'certificate-extension'],
    ['something behind', () => of(TRUE, integer(0), NULL), 'der-trailing'],
  ])('EV-13: with %s are refused', (_, action, code) => {
    expect(refusalOf(action)).toMatchObject({ code, field: 'leaf.basicConstraints' });
  });
});

describe('key usage', () => {
  const bits = (...bytes: readonly number[]): readonly number[] | undefined => {
    const value = bitString(Uint8Array.from(bytes));
    const { keyUsage } = withExtensions(extension('2.5.29.15', value));
    return keyUsage && [...keyUsage];
  };

  it('EV-15: is read by the numbers of its bits, the highest of a byte first', () => {
    expect(bits(0x80)).toEqual([0]);
    expect(bits(0x01)).toEqual([7]);
    expect(bits(0x06)).toEqual([5, 6]);
    expect(bits(0x00, 0x80)).toEqual([8]);
    expect(bits()).toEqual([]);
  });

  it('EV-15: has the field of the extension in refusals, and so have purposes', () => {
    const wrong = (name: string) => refusalOf(() => withExtensions(extension(name, NULL)));
    expect(wrong('2.5.29.15')).toMatchObject({ code: 'der-tag', field: 'leaf.keyUsage' });
    expect(wrong('2.5.29.37')).toMatchObject({ code: 'der-tag', field: 'leaf.extendedKeyUsage' });
  });

  it('EV-15: purposes are read in their order', () => {
    const value = sequence(identifier('2.23.133.8.1'), identifier('1.2.3'));
    expect(withExtensions(extension('2.5.29.37', value)).extendedKeyUsage).toEqual(['2.23.133.8.1', '1.2.3']);
    expect(withExtensions(extension('2.5.29.37', sequence())).extendedKeyUsage).toEqual([]);
  });
});

const SHA256 = '2.16.840.1.101.3.4.2.1';
const SHA384 = '2.16.840.1.101.3.4.2.2';
const SHA512 = '2.16.840.1.101.3.4.2.3';
const MGF1 = '1.2.840.113549.1.1.8';
const scheme = (algorithm: Der) => readSignatureScheme(readElement(algorithm, Tag.sequence, 'algorithm'));

describe('signature algorithms', () => {
  it.each([
    ['1.2.840.113549.1.1.11', 'rsassa-pkcs1', 'SHA-256'],
    ['1.2.840.113549.1.1.12', 'rsassa-pkcs1', 'SHA-384'],
    ['1.2.840.113549.1.1.13', 'rsassa-pkcs1', 'SHA-512'],
    ['1.2.840.10045.4.3.2', 'ecdsa', 'SHA-256'],
    ['1.2.840.10045.4.3.3', 'ecdsa', 'SHA-384'],
    ['1.2.840.10045.4.3.4', 'ecdsa', 'SHA-512'],
  ])('EV-12: %s is %s with %s, with the parameters of its kind alone', (name, algorithm, hash) => {
    const [right, wrong] = algorithm === 'ecdsa' ? [NOTHING, NULL] : [NULL, NOTHING];
    expect(scheme(sequence(identifier(name), right))).toEqual({ algorithm, hash });
    expect(refusalCode(() => scheme(sequence(identifier(name), wrong)))).toMatch(/^der-/);
    expect(refusalCode(() => scheme(sequence(identifier(name), right, NULL)))).toBe('der-trailing');
  });

  it('EV-12: others are refused, among them those with SHA-1', () => {
    for (const name of ['1.2.840.113549.1.1.5', '1.2.840.10045.4.1', '1.3.101.112']) {
      expect(refusalOf(() => scheme(sequence(identifier(name), NULL)))).toMatchObject({
        code: 'certificate-algorithm',
        field: 'algorithm',
        found: name,
      });
    }
  });
});

interface PssMembers {
  readonly hash: Der;
  readonly mask: Der;
  readonly salt: Der;
  readonly trailer: Der;
  readonly rest: Der;
}

const hashOf = (name: string, parameters = NOTHING): Der => sequence(identifier(name), parameters);
const maskOf = (name: string, hash: Der): Der => explicit(1, sequence(identifier(name), hash));

function pss(name: string, saltLength: number, changes: Partial<PssMembers> = {}): Der {
  const { hash, mask, salt, trailer, rest } = {
    hash: explicit(0, hashOf(name)),
    mask: maskOf(MGF1, hashOf(name)),
    salt: explicit(2, integer(saltLength)),
    trailer: NOTHING,
    rest: NOTHING,
    ...changes,
  };
  return sequence(identifier('1.2.840.113549.1.1.10'), sequence(hash, mask, salt, trailer, rest));
}

describe('RSASSA-PSS', () => {
  it.each([
    [SHA256, 32, 'SHA-256'],
    [SHA384, 48, 'SHA-384'],
    [SHA512, 64, 'SHA-512'],
  ])('EV-12: takes a salt as long as the hash %s', (name, saltLength, hash) => {
    expect(scheme(pss(name, saltLength))).toEqual({ algorithm: 'rsa-pss', hash });
    for (const other of [saltLength - 1, saltLength + 1, 20]) {
      expect(refusalOf(() => scheme(pss(name, other)))).toMatchObject({
        code: 'certificate-algorithm',
        field: 'algorithm',
        found: `${MGF1}, salt of ${other} bytes`,
      });
    }
  });

  it('EV-12: takes a hash with and without NULL, and the trailer that is the default', () => {
    const withNull = { hash: explicit(0, hashOf(SHA256, NULL)), mask: maskOf(MGF1, hashOf(SHA256, NULL)) };
    expect(scheme(pss(SHA256, 32, withNull)).hash).toBe('SHA-256');
    expect(scheme(pss(SHA256, 32, { trailer: explicit(3, integer(1)) })).hash).toBe('SHA-256');
  });

  it.each<[string, Partial<PssMembers>, string]>([
    ['another mask function', { mask: maskOf('1.2.3', hashOf(SHA256)) }, 'certificate-algorithm'],
    ['another hash in the mask', { mask: maskOf(MGF1, hashOf(SHA384)) }, 'certificate-algorithm'],
    ['an unknown hash', { hash: explicit(0, hashOf('1.3.14.3.2.26')) }, 'certificate-algorithm'],
    ['another trailer', { trailer: explicit(3, integer(2)) }, 'certificate-algorithm'],
    ['something behind the trailer', { trailer: explicit(3, integer(1), NULL) }, 'der-trailing'],
    ['something behind the parameters', { rest: NULL }, 'der-trailing'],
    ['something behind the hash', { hash: explicit(0, hashOf(SHA256), NULL) }, 'der-trailing'],
    [
      'something in the hash',
      { hash: explicit(0, sequence(identifier(SHA256), NULL, NULL)) },
      'der-trailing',
    ],
    [
      'something behind the hash of the mask',
      { mask: explicit(1, sequence(identifier(MGF1), hashOf(SHA256), NULL)) },
      'der-trailing',
    ],
    ['no hash, which would mean SHA-1', { hash: NOTHING }, 'der-tag'],
  ])('EV-12: with %s is refused', (_, changes, code) => {
    expect(refusalCode(() => scheme(pss(SHA256, 32, changes)))).toBe(code);
  });

  it('EV-12: with something behind the algorithm is refused', () => {
    const parameters = sequence(
      explicit(0, hashOf(SHA256)),
      maskOf(MGF1, hashOf(SHA256)),
      explicit(2, integer(32)),
    );
    const longer = sequence(identifier('1.2.840.113549.1.1.10'), parameters, NULL);
    expect(refusalCode(() => scheme(longer))).toBe('der-trailing');
  });
});

describe('names', () => {
  const attributes = (name: Uint8Array) => [...nameAttributes(name, 'subject')];

  it('EV-12: are read by the types of their attributes', () => {
    expect(attributes(commonName('a'))).toEqual([['2.5.4.3', 'a']]);
    expect(attributes(nameOf(['2.5.4.3', 'a'], ['2.5.4.10', 'b']))).toEqual([
      ['2.5.4.3', 'a'],
      ['2.5.4.10', 'b'],
    ]);
    const attribute = (type: string): Der =>
      sequence(identifier(type), der(Tag.printableString, Uint8Array.of(0x61)));
    expect(attributes(sequence(set(attribute('2.5.4.3'), attribute('2.5.4.10'))))).toHaveLength(2);
    expect(attributes(sequence())).toEqual([]);
  });

  it('EV-12: with an attribute twice are refused, in one set or in two', () => {
    const attribute = sequence(identifier('2.5.4.3'), der(Tag.utf8String, Uint8Array.of(0x61)));
    for (const name of [sequence(set(attribute), set(attribute)), sequence(set(attribute, attribute))]) {
      expect(refusalOf(() => attributes(name))).toMatchObject({
        code: 'certificate-name',
        field: 'subject',
        expected: 'each attribute once',
        found: '2.5.4.3 twice',
      });
    }
  });

  it('EV-12: with something behind a value are refused', () => {
    const longer = sequence(identifier('2.5.4.3'), der(Tag.utf8String, Uint8Array.of(0x61)), NULL);
    expect(refusalCode(() => attributes(sequence(set(longer))))).toBe('der-trailing');
    expect(toHex(commonName('a'))).toBe('300c310a300806035504030c0161');
  });
});
