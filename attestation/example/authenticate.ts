/** Authenticity: the device's key leads to an anchor that the operator named, and signed this for this challenge. */

import { equalBytes, toHex } from '../core/bytes.ts';
import { verifyCertificatePath } from '../core/certificate-path.ts';
import type { TrustAnchor } from '../core/certificate-path.ts';
import type { DeviceInputs } from '../core/device-class.ts';
import { readSubjectPublicKeyInfo } from '../core/public-key.ts';
import type { EcPublicKey } from '../core/public-key.ts';
import { verifySignature } from '../core/signature.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import { KeyUsage } from '../core/x509.ts';
import type { ExampleEvidence } from './layout.ts';

export const chainChecks = defineChecks('inauthentic', {
  'example-certificate': {
    means: 'The device’s certificate does not lead to an accepted authority.',
    hint: 'Send the intermediate certificates too, or have the operator add the vendor’s root.',
    protects: 'Anybody could sign statements with a key of his own.',
  },
  'example-key-use': {
    means: 'The certified key is not one that signs statements: P-256, digitalSignature, no authority.',
    hint: 'Send the certificate of the device’s attestation key.',
    protects: 'A key that signs what others give it, such as a TLS key, could be made to sign a statement.',
  },
});

export const statementChecks = defineChecks('inauthentic', {
  'example-signature': {
    means: 'The statement is not signed by the device’s key.',
    hint: 'Statement and signature were altered, or belong to two devices.',
    protects: 'Anybody could write a statement.',
  },
  'example-binding': {
    means: 'The statement was made for something else.',
    hint: 'Sign the device value of this challenge; each challenge is good for one attempt.',
    protects: 'An old statement could be sent again, or that of an honest machine with another’s key.',
  },
});

/** Whose key it is: the key, and the anchor that vouches for it. */
export interface DeviceKey {
  readonly key: EcPublicKey;
  readonly anchor: TrustAnchor;
}

/** @throws RefusalError */
export async function authenticateKey(
  { certificate, intermediates }: ExampleEvidence,
  { anchors, time }: DeviceInputs,
  checks: Checklist,
): Promise<DeviceKey> {
  const expected = anchors.map(({ name }) => name).join(', ') || 'an anchor (none is configured)';
  const anchor = await checks.attempt(
    chainChecks,
    'example-certificate',
    { field: 'certificate', expected },
    () =>
      verifyCertificatePath(certificate, {
        intermediates,
        anchors,
        time,
        validity: 'enforce',
        understoodLeafExtensions: [],
      }),
  );
  const key = readSubjectPublicKeyInfo(certificate.subjectPublicKeyInfo, 'certificate.publicKey');
  const maySign = !certificate.isAuthority && certificate.keyUsage?.has(KeyUsage.digitalSignature) === true;
  checks.demand(chainChecks, 'example-key-use', key.type === 'ec' && key.curve === 'P-256' && maySign, {
    field: 'certificate',
    expected: 'a P-256 key for digitalSignature that is no authority',
    found: `${key.type === 'ec' ? key.curve : 'RSA'}, ${maySign ? 'signs' : 'an authority or another use'}`,
  });
  return { key, anchor };
}

/** @throws RefusalError */
export async function authenticateStatement(
  { statement, signed, signature }: ExampleEvidence,
  key: DeviceKey['key'],
  expectedDeviceValue: Uint8Array,
  checks: Checklist,
): Promise<void> {
  const scheme = { algorithm: 'ecdsa', hash: 'SHA-256' } as const;
  const holds = await verifySignature(key, scheme, signature, signed);
  checks.demand(statementChecks, 'example-signature', holds, {
    field: 'signature',
    expected: 'a signature by the certified key',
    found: holds ? 'one' : 'one that does not verify',
  });
  checks.demand(statementChecks, 'example-binding', equalBytes(statement.deviceValue, expectedDeviceValue), {
    field: 'statement.deviceValue',
    expected: toHex(expectedDeviceValue),
    found: toHex(statement.deviceValue),
  });
}
