import { generateKeyPairSync } from 'node:crypto';

import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';

import { readCertificateList, verifyCertificateList } from '../../../attestation/core/certificate-list.ts';
import type { CertificateList } from '../../../attestation/core/certificate-list.ts';
import { CertificateMemory } from '../../../attestation/core/certificate-memory.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import {
  commonName,
  ECDSA_SHA256,
  explicit,
  extension,
  integer,
  NOTHING,
  NULL,
  sequence,
  signed,
  signedBy,
  tbsOf,
  utcTime,
} from '../../support/der-writer.ts';
import type { Der } from '../../support/der-writer.ts';
import { refusalCode, refusalCodeAsync, refusalOf, refusalOfAsync } from '../../support/refusal-code.ts';

const code = (bytes: Uint8Array): string => refusalCode(() => readCertificateList(bytes, 'crl'));
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));

/** A small list with a signature algorithm, an empty name, one entry and the number 5; its signature is one byte. */
const ALGORITHM = '300a 06082a8648ce3d040303';
const TIMES = '170d3236303130313030303030305a 170d3236303230313030303030305a';
const ENTRY = '3012 020101 170d3236303130313030303030305a';
const NUMBER = 'a00e 300c 300a 0603551d14 0403020105';

function sized(tag: string, content: string): string {
  const bytes = content.replaceAll(' ', '');
  return `${tag}${(bytes.length / 2).toString(16).padStart(2, '0')}${bytes}`;
}

const listOf = (tbs: string, algorithm = ALGORITHM): Uint8Array =>
  hex(sized('30', `${sized('30', tbs)} ${algorithm} 030200aa`));
const members = (entries: string, extensions = NUMBER, version = '020101'): string =>
  `${version} ${ALGORITHM} 3000 ${TIMES} ${entries} ${extensions}`;

describe('revocation lists', () => {
  it('are read', () => {
    const list = readCertificateList(listOf(members(sized('30', ENTRY))), 'crl');
    expect([...list.revoked]).toEqual(['01']);
    expect(list.number).toBe(5);
    expect(list.thisUpdate).toBe(Date.parse('2026-01-01T00:00:00Z') / 1000);
    expect(list.nextUpdate).toBe(Date.parse('2026-02-01T00:00:00Z') / 1000);
    expect(list.signatureScheme).toEqual({ algorithm: 'ecdsa', hash: 'SHA-384' });
    expect(readCertificateList(listOf(members('')), 'crl').revoked.size).toBe(0);
  });

  it('W11: are refused when another reader could understand them differently', () => {
    expect(code(listOf(members('3000')))).toBe('crl-malformed');
    expect(code(listOf(members('', NUMBER, '020100')))).toBe('crl-malformed');
    expect(code(listOf(members('', 'a00e 300c 300a 0603551d15 0403020105')))).toBe('crl-malformed');
    expect(code(listOf(members('', 'a011 300f 300d 0603551d14 0406020401020304')))).toBe('accepted');
    expect(code(listOf(members('', 'a014 3012 3010 0603551d14 0409020701020304050607')))).toBe(
      'crl-malformed',
    );
    expect(code(listOf(members(''), '300a 06082a8648ce3d040302'))).toBe('crl-malformed');
    expect(code(listOf(`${members('')} 0500`))).toBe('der-trailing');
    expect(code(listOf(members('', '')))).toBe('der-truncated');
  });

  it('W11: arbitrary and damaged bytes give a list or a refusal', () => {
    const good = listOf(members(sized('30', ENTRY)));
    const damaged = fc
      .array(fc.tuple(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 })), { maxLength: 3 })
      .map((edits) => {
        const bytes = good.slice();
        for (const [at, value] of edits) bytes[at] = value;
        return bytes;
      });
    const cut = fc.nat({ max: good.length - 1 }).map((length) => good.subarray(0, length));
    fc.assert(
      fc.property(cut, (bytes) => {
        expect(code(bytes)).toMatch(/^der-/);
      }),
    );
    fc.assert(
      fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 200 })), (bytes) => {
        expect(code(bytes)).toMatch(/^(?:accepted|der-|crl-|certificate-)/);
      }),
      { numRuns: 300 },
    );
  });
});

const NUMBERED = extension('2.5.29.20', integer(5));
const REVOKED_ON = utcTime('260101000000Z');
const FROM = Date.UTC(2026, 0) / 1000;
const UNTIL = Date.UTC(2026, 1) / 1000;

interface ListMembers {
  readonly version: Der;
  readonly entries: Der;
  readonly extensions: Der;
}

/** What the issuer of these lists signs. */
function tbsList(changes: Partial<ListMembers> = {}): Der {
  const { version, entries, extensions } = {
    version: integer(1),
    entries: NOTHING,
    extensions: explicit(0, sequence(NUMBERED)),
    ...changes,
  };
  const times = [utcTime('260101000000Z'), utcTime('260201000000Z')];
  return sequence(version, ECDSA_SHA256, commonName('issuer'), ...times, entries, extensions);
}

const read = (changes: Partial<ListMembers>): CertificateList =>
  readCertificateList(signed(tbsList(changes), ECDSA_SHA256, Uint8Array.of(1)), 'crl');
const numbered = (...content: readonly number[]): CertificateList =>
  read({ extensions: explicit(0, sequence(extension('2.5.29.20', integer(...content)))) });

describe('the form of revocation lists', () => {
  it.each([
    ['an entry', { entries: sequence(sequence(integer(1), REVOKED_ON, NULL)) }],
    ['the extensions', { extensions: explicit(0, sequence(NUMBERED), NULL) }],
    ['one extension', { extensions: explicit(0, sequence(sequence(NUMBERED.subarray(2), NULL))) }],
  ])('W11: with something behind %s are refused', (_, changes) => {
    expect(refusalCode(() => read(changes))).toBe('der-trailing');
  });

  it('W11: with something behind the signature are refused', () => {
    const bytes = signed(tbsList(), ECDSA_SHA256, Uint8Array.of(1), NULL);
    expect(refusalOf(() => readCertificateList(bytes, 'crl'))).toMatchObject({
      code: 'der-trailing',
      field: 'crl',
    });
  });

  it('W11: have 32 KiB at most', () => {
    const limit = 32 * 1024;
    const entry = (padding: number): Der =>
      sequence(integer(1), REVOKED_ON, sequence(extension('1.2.3', new Uint8Array(padding))));
    const listOf = (padding: number): Uint8Array =>
      signed(tbsList({ entries: sequence(entry(padding)) }), ECDSA_SHA256, Uint8Array.of(1));
    const fitting = limit - listOf(0x4000).length + 0x4000;
    expect(listOf(fitting).length).toBe(limit);
    expect(code(listOf(fitting))).toBe('accepted');
    expect(refusalOf(() => readCertificateList(listOf(fitting + 1), 'crl'))).toMatchObject({
      code: 'crl-size',
      field: 'crl',
      expected: `at most ${limit} bytes`,
      found: `${limit + 1} bytes`,
    });
  });

  it('W11: say what is wrong with them', () => {
    expect(refusalOf(() => read({ version: integer(0) }))).toMatchObject({
      code: 'crl-malformed',
      field: 'crl.tbsCertList',
      expected: 'version 2',
      found: 'version 1',
    });
    expect(refusalOf(() => read({ version: integer(2) })).found).toBe('version 3');
    expect(refusalOf(() => read({ entries: sequence() }))).toMatchObject({
      code: 'crl-malformed',
      field: 'crl.tbsCertList.revokedCertificates',
    });
    expect(refusalOf(() => read({ extensions: explicit(0, sequence()) }))).toMatchObject({
      code: 'crl-malformed',
      field: 'crl.tbsCertList.crlExtensions.list',
    });
  });

  it('W11: have a number of up to six bytes', () => {
    expect(numbered(0).number).toBe(0);
    expect(numbered(1, 2).number).toBe(0x0102);
    expect(numbered(0x7f, 0xff, 0xff, 0xff, 0xff, 0xff).number).toBe(0x7fffffffffff);
    expect(refusalOf(() => numbered(1, 0, 0, 0, 0, 0, 0))).toMatchObject({
      code: 'crl-malformed',
      expected: 'a cRLNumber below 2^48',
      found: '01000000000000',
    });
  });

  const listed = (...extensions: readonly Der[]) => ({
    extensions: explicit(0, sequence(NUMBERED, ...extensions)),
  });
  const entryWith = (...extensions: readonly Der[]) => ({
    entries: sequence(sequence(integer(1), REVOKED_ON, sequence(...extensions))),
  });

  it.each<[string, Partial<ListMembers>, string]>([
    ['an extension that may be passed over', listed(extension('1.2.3', NULL)), 'accepted'],
    ['one that says that it is not critical', listed(extension('1.2.3', NULL, false)), 'accepted'],
    ['a critical one that is not understood', listed(extension('1.2.3', NULL, true)), 'crl-malformed'],
    ['a delta list', listed(extension('2.5.29.27', integer(1), true)), 'crl-malformed'],
    ['an extension twice', listed(extension('1.2.3', NULL), extension('1.2.3', NULL)), 'crl-malformed'],
    ['a critical key identifier', listed(extension('2.5.29.35', NULL, true)), 'accepted'],
    [
      'a critical number',
      { extensions: explicit(0, sequence(extension('2.5.29.20', integer(5), true))) },
      'accepted',
    ],
    ['a reason of an entry', entryWith(extension('2.5.29.21', NULL)), 'accepted'],
    ['a critical extension of an entry', entryWith(extension('2.5.29.29', NULL, true)), 'crl-malformed'],
    ['a critical number of an entry', entryWith(extension('2.5.29.20', NULL, true)), 'crl-malformed'],
  ])('W11: with %s', (_, changes, outcome) => {
    expect(refusalCode(() => read(changes))).toBe(outcome);
  });

  it('hold all serial numbers, as their INTEGER has them', () => {
    const entry = (...serial: readonly number[]): Der => sequence(integer(...serial), REVOKED_ON);
    expect([...read({ entries: sequence(entry(0, 0x80), entry(1, 2)) }).revoked]).toEqual(['0080', '0102']);
  });
});

describe('a revocation list', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const issuerOf = (name: string) =>
    readCertificate(signedBy(privateKey, tbsOf({ subject: commonName(name), publicKey: spki })), 'issuer');
  const issuer = issuerOf('issuer');
  const good = readCertificateList(signedBy(privateKey, tbsList()), 'crl');
  const forged = readCertificateList(signedBy(other.privateKey, tbsList()), 'crl');

  it.each([
    ['from its first second', good, FROM, 'accepted'],
    ['to the last before its next update', good, UNTIL - 1, 'accepted'],
    ['not a second before', good, FROM - 1, 'crl-not-yet-valid'],
    ['not at its next update', good, UNTIL, 'crl-stale'],
    ['not with the signature of another', forged, FROM, 'crl-signature'],
  ])('SN-15: says something %s', async (_, list, time, outcome) => {
    expect(await refusalCodeAsync(() => verifyCertificateList(list, issuer, time, 'crl'))).toBe(outcome);
  });

  it('SN-15: is refused with the field of the caller', async () => {
    const refusal = (list: CertificateList, time: number, name = 'issuer') =>
      refusalOfAsync(() => verifyCertificateList(list, issuerOf(name), time, 'collateral.crl'));
    const field = 'collateral.crl';
    expect(await refusal(good, FROM, 'another')).toMatchObject({ code: 'crl-issuer', field });
    expect(await refusal(forged, FROM)).toMatchObject({ code: 'crl-signature', field });
    expect(await refusal(good, 5)).toMatchObject({ field, expected: `from ${FROM}`, found: '5' });
    const stale = { field, expected: `before ${UNTIL}`, found: String(UNTIL) };
    expect(await refusal(good, UNTIL)).toMatchObject(stale);
  });

  it('is verified once where there is a memory, and judged by the time each time', async () => {
    const memory = new CertificateMemory();
    const verify = vi.spyOn(crypto.subtle, 'verify');
    await verifyCertificateList(good, issuer, FROM, 'crl', memory);
    await verifyCertificateList(good, issuer, FROM, 'crl', memory);
    expect(verify).toHaveBeenCalledTimes(1);
    await verifyCertificateList(good, issuer, FROM, 'crl');
    expect(verify).toHaveBeenCalledTimes(2);
    verify.mockRestore();
    const late = () => verifyCertificateList(good, issuer, UNTIL, 'crl', memory);
    expect(await refusalCodeAsync(late)).toBe('crl-stale');
    const wrong = () => verifyCertificateList(forged, issuer, FROM, 'crl', memory);
    expect(await refusalCodeAsync(wrong)).toBe('crl-signature');
  });
});
