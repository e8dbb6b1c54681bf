import { beforeAll, describe, expect, it } from 'vitest';

import { encode } from '../../../attestation/core/layout.ts';
import { verifyAttestationKey } from '../../../attestation/tpm/enrolment.ts';
import { Algorithm, Curve, ObjectAttribute, publicArea } from '../../../attestation/tpm/layout.ts';
import type { EccPublicArea, PublicArea, RsaPublicArea } from '../../../attestation/tpm/layout.ts';
import { attestationKeyTemplates, endorsementKeyTemplates } from '../../../attestation/tpm/templates.ts';
import { makeSoftwareAttester } from '../../support/software-attester.ts';

let ecc: EccPublicArea;
let rsa: RsaPublicArea;

beforeAll(async () => {
  ecc = (await makeSoftwareAttester('ecc-p256')).publicArea as EccPublicArea;
  rsa = (await makeSoftwareAttester('rsa-2048')).publicArea as RsaPublicArea;
});

async function code(area: PublicArea): Promise<string> {
  const verdict = await verifyAttestationKey(encode(publicArea, area, 'akPublic'));
  return verdict.outcome === 'accepted' ? 'accepted' : verdict.refusals[0].code;
}

const { fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign, noDA } = ObjectAttribute;
const { decrypt, encryptedDuplication, x509sign, stClear, firmwareLimited } = ObjectAttribute;

describe('attestation keys', () => {
  it('EV-9: accepts the keys of our templates, also without dictionary attack protection', async () => {
    expect(await code(ecc)).toBe('accepted');
    expect(await code(rsa)).toBe('accepted');
    expect(await code({ ...ecc, objectAttributes: ecc.objectAttributes | noDA })).toBe('accepted');
  });

  it.each(Object.entries({ fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign }))(
    'EV-9: refuses a key without %s',
    async (_, bit) => {
      expect(await code({ ...ecc, objectAttributes: ecc.objectAttributes & ~bit })).toBe('tpm-ak-attributes');
    },
  );

  it.each(Object.entries({ decrypt, encryptedDuplication, x509sign, stClear }))(
    'EV-9: refuses a key with %s',
    async (_, bit) => {
      expect(await code({ ...ecc, objectAttributes: ecc.objectAttributes | bit })).toBe('tpm-ak-attributes');
    },
  );

  it('EV-7: refuses attribute bits that no specification knows', async () => {
    const bytes = encode(
      publicArea,
      { ...ecc, objectAttributes: ecc.objectAttributes | firmwareLimited },
      'ak',
    );
    const unknown = Uint8Array.from(bytes, (byte, i) => (i === 4 ? byte | 0x80 : byte));
    const verdict = await verifyAttestationKey(unknown);
    expect(verdict).toMatchObject({ outcome: 'refused', refusals: [{ code: 'layout-value' }] });
  });

  it('EV-10: refuses a symmetric algorithm, a missing scheme and a scheme with SHA-1', async () => {
    const symmetric = { algorithm: Algorithm.aes, keyBits: 128, mode: Algorithm.cfb } as const;
    const none = { algorithm: Algorithm.null } as const;
    const { parameters } = ecc;
    expect(await code({ ...ecc, parameters: { ...parameters, symmetric } })).toBe('tpm-ak-symmetric');
    expect(await code({ ...ecc, parameters: { ...parameters, scheme: none } })).toBe('tpm-ak-scheme');
    expect(await code({ ...rsa, parameters: { ...rsa.parameters, scheme: none } })).toBe('tpm-ak-scheme');
    const weak = { algorithm: Algorithm.ecdsa, hash: Algorithm.sha1 } as const;
    expect(await code({ ...ecc, parameters: { ...parameters, scheme: weak } })).toBe('tpm-hash');
    const ecdaa = { algorithm: Algorithm.ecdaa, hash: Algorithm.sha256, count: 0 } as const;
    expect(await code({ ...ecc, parameters: { ...parameters, scheme: ecdaa } })).toBe('tpm-ak-scheme');
  });

  it('EV-10: refuses a name algorithm of SHA-1', async () => {
    expect(await code({ ...ecc, nameAlgorithm: Algorithm.sha1 })).toBe('tpm-hash');
  });

  it('EV-11: refuses small RSA keys, other exponents and curves, and shared secrets', async () => {
    expect(await code({ ...rsa, unique: rsa.unique.subarray(0, 128) })).toBe('public-key-unsupported');
    expect(await code({ ...rsa, parameters: { ...rsa.parameters, exponent: 3 } })).toBe(
      'public-key-unsupported',
    );
    expect(await code({ ...rsa, unique: new Uint8Array(256) })).toBe('public-key-unsupported');
    const even = Uint8Array.from(rsa.unique, (byte, i) => (i === 255 ? byte & 0xfe : byte));
    expect(await code({ ...rsa, unique: even })).toBe('public-key-invalid');
    expect(await code({ ...ecc, parameters: { ...ecc.parameters, curve: Curve.p521 } })).toBe(
      'tpm-ak-scheme',
    );
    expect(await code({ ...ecc, unique: { ...ecc.unique, x: new Uint8Array(40).fill(1) } })).toBe(
      'signature-length',
    );
    const hmac: PublicArea = {
      type: Algorithm.keyedHash,
      nameAlgorithm: Algorithm.sha256,
      objectAttributes: ecc.objectAttributes,
      authPolicy: new Uint8Array(0),
      parameters: { algorithm: Algorithm.hmac, hash: Algorithm.sha256 },
      unique: new Uint8Array(32),
    };
    expect(await code(hmac)).toBe('tpm-ak-type');
  });

  it('EV-11: refuses an endorsement key in the place of an attestation key', async () => {
    expect(await code(endorsementKeyTemplates['L-1'])).toBe('tpm-ak-attributes');
    expect(attestationKeyTemplates['ecc-p256'].objectAttributes).toBe(0x00050072);
  });
});
