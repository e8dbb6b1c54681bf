import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { toUtf8 } from '../../../../attestation/core/bytes.ts';
import { readRuntimeClaims } from '../../../../attestation/sev-snp/azure/runtime-claims.ts';
import { refusalCode, refusalOf } from '../../../support/refusal-code.ts';
import { attestationKeyClaim, claimsBytes, configurationClaim, runtimeClaims } from './samples.ts';

const codeOf = (claims: unknown): string => refusalCode(() => readRuntimeClaims(claimsBytes(claims)));
const codeOfText = (text: string): string => refusalCode(() => readRuntimeClaims(toUtf8(text)));
const endorsementKeyClaim = { ...attestationKeyClaim, kid: 'HCLEkPub', key_ops: ['encrypt'] };

describe('runtime claims', () => {
  it('AZ-8: are read with and without what later paravisors write', () => {
    expect(readRuntimeClaims(claimsBytes(runtimeClaims))).toMatchObject({
      configuration: { secureBoot: true, tpmPersisted: undefined, filteredDevicesAllowed: undefined },
      userData: new Uint8Array(0),
    });
    const later = {
      keys: [attestationKeyClaim, endorsementKeyClaim],
      'vm-configuration': {
        'current-time': 1_700_000_000,
        'root-cert-thumbprint': 'A'.repeat(43),
        ...configurationClaim,
        'interactive-console-enabled': true,
        'tpm-persisted': true,
        'filtered-vpci-devices-allowed': false,
      },
      'user-data': '00FF',
    };
    expect(readRuntimeClaims(claimsBytes(later))).toMatchObject({
      attestationKey: { kid: 'HCLAkPub' },
      configuration: { interactiveConsoleEnabled: true, tpmPersisted: true, filteredDevicesAllowed: false },
      userData: Uint8Array.of(0, 255),
    });
  });

  it('AZ-7: have one spelling', () => {
    const text = JSON.stringify(runtimeClaims);
    expect(codeOfText(text)).toBe('accepted');
    expect(codeOfText(` ${text}`)).toBe('azure-claims-json');
    expect(codeOfText(`${text}\n`)).toBe('azure-claims-json');
    expect(codeOfText(`${text}\0`)).toBe('azure-claims-json');
    expect(codeOfText(`\ufeff${text}`)).toBe('azure-claims-json');
    expect(codeOfText(text.replace('"kty":"RSA"', '"kty":"RSA","kty":"RSA"'))).toBe('azure-claims-json');
    expect(codeOfText(text.replace('"RSA"', '"\\u0052SA"'))).toBe('azure-claims-json');
    expect(codeOfText(text.slice(0, -1))).toBe('azure-claims-json');
    expect(refusalCode(() => readRuntimeClaims(Uint8Array.of(0xff)))).toBe('utf8-malformed');
    expect(codeOfText('['.repeat(16_000) + ']'.repeat(16_000))).toBe('shape-value');
  });

  it('AZ-8: unknown, missing and ill-typed members are refused', () => {
    expect(codeOf({ ...runtimeClaims, more: 1 })).toBe('shape-member');
    expect(codeOf({ ...runtimeClaims, 'vm-configuration': { ...configurationClaim, more: true } })).toBe(
      'shape-member',
    );
    for (const name of Object.keys(configurationClaim)) {
      const rest = Object.fromEntries(Object.entries(configurationClaim).filter(([other]) => other !== name));
      expect(codeOf({ ...runtimeClaims, 'vm-configuration': rest })).toBe('shape-member');
      const wrong = { ...configurationClaim, [name]: 1 };
      expect(codeOf({ ...runtimeClaims, 'vm-configuration': wrong })).toBe('shape-value');
    }
    expect(codeOf({ 'vm-configuration': configurationClaim })).toBe('shape-member');
    for (const userData of ['0', 'zz', '00'.repeat(65), 0]) {
      expect(codeOf({ ...runtimeClaims, 'user-data': userData })).toBe('shape-value');
    }
    for (const value of [null, [], 1, 'text', true]) {
      expect(codeOf(value)).toBe('shape-value');
      expect(codeOf({ ...runtimeClaims, 'vm-configuration': value })).toBe('shape-value');
    }
  });

  it('AZ-8: keys are RSA keys of 2048 bits with one use', () => {
    const withKey = (change: object): unknown => ({
      ...runtimeClaims,
      keys: [{ ...attestationKeyClaim, ...change }],
    });
    // The digits of base64url that differ from those of base64: six bits of ones and six that end in a zero.
    const n = `${'-_'.repeat(170)}wA`;
    const { attestationKey } = readRuntimeClaims(claimsBytes(withKey({ n })));
    expect(Buffer.from(attestationKey.n).toString('base64url')).toBe(n);
    expect(codeOf(withKey({ kty: 'EC' }))).toBe('shape-value');
    expect(codeOf(withKey({ e: 'Aw' }))).toBe('shape-value');
    expect(codeOf(withKey({ kid: 'HCLTransferKey' }))).toBe('shape-value');
    expect(codeOf(withKey({ key_ops: [] }))).toBe('shape-value');
    expect(codeOf(withKey({ key_ops: ['sign', 'sign'] }))).toBe('shape-value');
    expect(codeOf(withKey({ key_ops: ['deriveKey'] }))).toBe('shape-value');
    expect(codeOf(withKey({ d: 'AQAB' }))).toBe('shape-member');
    expect(codeOf(withKey({ n: 'w'.repeat(341) }))).toBe('shape-value');
    expect(codeOf(withKey({ n: '+'.repeat(342) }))).toBe('shape-value');
    // 342 digits hold 2052 bits: the last four must be zero.
    expect(codeOf(withKey({ n: 'w'.repeat(341) + 'R' }))).toBe('base64-malformed');
  });

  it('AZ-9: name the attestation key once and the endorsement key at most once', () => {
    expect(codeOf({ ...runtimeClaims, keys: [attestationKeyClaim, attestationKeyClaim] })).toBe(
      'azure-claims-keys',
    );
    const alone = { ...runtimeClaims, keys: [endorsementKeyClaim] };
    expect(refusalOf(() => readRuntimeClaims(claimsBytes(alone)))).toMatchObject({
      code: 'azure-claims-keys',
      found: 'HCLEkPub',
    });
    const both = { ...runtimeClaims, keys: [endorsementKeyClaim, attestationKeyClaim] };
    expect(readRuntimeClaims(claimsBytes(both)).attestationKey.kid).toBe('HCLAkPub');
    expect(codeOf({ ...runtimeClaims, keys: [endorsementKeyClaim, endorsementKeyClaim] })).toBe(
      'azure-claims-keys',
    );
    expect(codeOf({ ...runtimeClaims, keys: [] })).toBe('shape-value');
    const three = [attestationKeyClaim, endorsementKeyClaim, endorsementKeyClaim];
    expect(codeOf({ ...runtimeClaims, keys: three })).toBe('shape-value');
  });

  it('AZ-7: arbitrary JSON and arbitrary bytes cause refusals of the closed set alone', () => {
    const known = /^(?:azure-claims-|shape-|utf8-|base64-|hex-|accepted)/;
    fc.assert(fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => known.test(codeOf(value))));
    const mutated = fc.tuple(fc.nat(400), fc.string({ maxLength: 8 })).map(([at, text]) => {
      const base = JSON.stringify(runtimeClaims);
      return base.slice(0, at) + text + base.slice(at + 1);
    });
    fc.assert(fc.property(mutated, (text) => known.test(codeOfText(text))));
  });
});
