import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';

import { concatBytes, fromHex, toHex } from '../../../attestation/core/bytes.ts';
import { decode, encode } from '../../../attestation/core/layout.ts';
import { publicArea } from '../../../attestation/tpm/layout.ts';
import { hierarchyName, Hierarchy } from '../../../attestation/tpm/name.ts';
import { attestationKeyTemplates, endorsementKeyTemplates } from '../../../attestation/tpm/templates.ts';

/** PolicyAuthorizeNV of the profile's indices 01C07F01 to 01C07F03 (EK Credential Profile, annex B.6). */
const policyC = {
  'H-1': '3767e2edd43ff45a3a7e1eaefcef78643dca964632e7aad82c673a30d8633fde',
  'H-3': 'd6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5b4947c2d73e63005eed2dc2b3593d165',
  'H-4':
    '589ee1e146544716e8deafe6db247b01b81e9f9c7dd16b814aa159138749105fba5388dd1dea702f35240c184933121e' +
    '2c61b8f50d3ef91393a49a38c3f73fc8',
} as const;
const hashes = { 'H-1': sha256, 'H-3': sha384, 'H-4': sha512 } as const;

const commandCode = (code: number): Uint8Array => Uint8Array.of(0, 0, 1, code);

/** PolicySecret of the endorsement hierarchy with an empty policyRef (Part 3, section 23.4). */
function policyA(hash: (typeof hashes)[keyof typeof hashes]): Uint8Array {
  const start = new Uint8Array(hash.outputLen);
  return hash(hash(concatBytes(start, commandCode(0x51), hierarchyName(Hierarchy.endorsement))));
}

describe('templates', () => {
  it('EV-16: the policy of the low range is that of PolicySecret', () => {
    const expected = toHex(policyA(sha256));
    expect(toHex(endorsementKeyTemplates['L-1'].authPolicy)).toBe(expected);
    expect(toHex(endorsementKeyTemplates['L-2'].authPolicy)).toBe(expected);
  });

  it.each(['H-1', 'H-3', 'H-4'] as const)('EV-16: the policy of %s is that of PolicyOR', (name) => {
    const hash = hashes[name];
    const start = new Uint8Array(hash.outputLen);
    const branches = concatBytes(policyA(hash), fromHex(policyC[name], 'policy'));
    const expected = toHex(hash(concatBytes(start, commandCode(0x71), branches)));
    expect(toHex(endorsementKeyTemplates[name].authPolicy)).toBe(expected);
  });

  it.each(Object.entries({ ...endorsementKeyTemplates, ...attestationKeyTemplates }))(
    'EV-7: %s is written and read by the declared layout',
    (_, template) => {
      const bytes = encode(publicArea, template, 'template');
      expect(decode(publicArea, bytes, 'template')).toEqual(template);
    },
  );
});
