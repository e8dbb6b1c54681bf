/**
 * Authenticity of a certification (TPM2_Certify; docs/spec/tpm-identity.md, section 3): that a key which is trusted
 * already says of another object that it is loaded in the same TPM, now and for us. What the object is good for is
 * judged where it is used.
 */

import { equalBytes, toHex } from '../core/bytes.ts';
import { decode } from '../core/layout.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import { attest, AttestType, signature, TPM_GENERATED } from './layout.ts';
import type { CertifyAttest, PublicArea } from './layout.ts';
import { computeName } from './name.ts';
import type { SignerExpectations } from './quote.ts';
import { isOfScheme, statementSignatureHolds } from './statement.ts';

export const certifyChecks = defineChecks('inauthentic', {
  'tpm-certify-magic': {
    means: 'The signed bytes do not start with the value that only a TPM writes there.',
    hint: 'The bytes were made outside the TPM; nothing but a TPM’s own statement is accepted.',
    protects: 'A restricted key signs any other data that a caller shapes like a certification.',
  },
  'tpm-certify-type': {
    means: 'The signed statement is not a certification.',
    hint: 'Send the result of TPM2_Certify.',
    protects: 'A quote, or a statement about the creation of a key, could be passed off as a certification.',
  },
  'tpm-certify-signature-scheme': {
    means: 'The signature does not use the scheme of the certifying key.',
    hint: 'Certify with the key’s own scheme.',
    protects: 'A weaker scheme or hash of the attacker’s choice would be accepted.',
  },
  'tpm-certify-signature': {
    means: 'The signature does not hold over the received bytes.',
    hint: 'The statement was altered, or signed by another key.',
    protects: 'Anybody could certify a key.',
  },
  'tpm-certify-signer': {
    means: 'The statement does not name the certifying key in its place below the endorsement hierarchy.',
    hint: 'Certify with the attestation key that is enrolled.',
    protects: 'Which key or hierarchy signed could be hidden.',
  },
  'tpm-certify-binding': {
    means: 'The certification was made for another challenge.',
    hint: 'Certify again for this challenge; a statement is never used twice.',
    protects: 'An old certification, of a key that was given up since, could be replayed.',
  },
  'tpm-certify-name': {
    means: 'The certified object is not the key that was sent along.',
    hint: 'Send the public area of the key that was certified, as the TPM gives it.',
    protects: 'The certification of one key could vouch for another.',
  },
  'tpm-certify-place': {
    means: 'The certified key stands elsewhere than the statements of an enrolled TPM may come from.',
    hint: 'Make the key in the endorsement hierarchy, or below the endorsement key.',
    protects:
      'Its quotes would be refused; a key of the owner’s hierarchy hides the true counters of the TPM.',
  },
});

/** What a certification claims, as received. */
export interface PresentedCertification {
  /** TPMS_ATTEST, exactly the bytes that were signed. */
  readonly attest: Uint8Array;
  /** TPMT_SIGNATURE. */
  readonly signature: Uint8Array;
}

/**
 * Authenticates who certified, and for what.
 *
 * @param extraData what the statement has to be bound to
 * @throws RefusalError `tpm-certify-*`, `layout-*`, `signature-*`
 */
export async function authenticateCertification(
  presented: PresentedCertification,
  expected: SignerExpectations & { readonly extraData: Uint8Array },
  checks: Checklist,
): Promise<CertifyAttest> {
  const statement = decode(attest, presented.attest, 'attest');
  checks.demand(certifyChecks, 'tpm-certify-magic', statement.magic === TPM_GENERATED, {
    field: 'attest.magic',
    expected: `0x${TPM_GENERATED.toString(16)}`,
    found: `0x${statement.magic.toString(16)}`,
  });
  checks.demand(certifyChecks, 'tpm-certify-type', statement.type === AttestType.certify, {
    field: 'attest.type',
    expected: `0x${AttestType.certify.toString(16)}`,
    found: `0x${statement.type.toString(16)}`,
  });
  await demandSignature(presented, expected, checks);
  demandSigner(statement, expected.qualifiedSigners, checks);
  checks.demand(certifyChecks, 'tpm-certify-binding', equalBytes(statement.extraData, expected.extraData), {
    field: 'attest.extraData',
    expected: toHex(expected.extraData),
    found: toHex(statement.extraData),
  });
  return statement;
}

async function demandSignature(
  presented: PresentedCertification,
  { key }: SignerExpectations,
  checks: Checklist,
): Promise<void> {
  const received = decode(signature, presented.signature, 'signature');
  checks.demand(certifyChecks, 'tpm-certify-signature-scheme', isOfScheme(received, key), {
    field: 'signature.algorithm',
    expected: `${key.scheme.algorithm} with ${key.hash.name}`,
    found: `0x${received.algorithm.toString(16)} with hash 0x${received.hash.toString(16)}`,
  });
  const holds = await statementSignatureHolds(received, key, presented.attest);
  checks.demand(certifyChecks, 'tpm-certify-signature', holds, {
    field: 'signature',
    expected: 'a signature of the certifying key over the attest bytes',
    found: holds ? 'one' : 'one that does not verify',
  });
}

function demandSigner(
  { qualifiedSigner }: CertifyAttest,
  qualifiedSigners: readonly Uint8Array[],
  checks: Checklist,
): void {
  const isKnown = qualifiedSigners.some((name) => equalBytes(name, qualifiedSigner));
  checks.demand(certifyChecks, 'tpm-certify-signer', isKnown && qualifiedSigner.length > 0, {
    field: 'attest.qualifiedSigner',
    expected: qualifiedSigners.map(toHex).join(' or '),
    found: toHex(qualifiedSigner),
  });
}

/**
 * Demands that the certified object is this one.
 *
 * @returns its computed Name
 * @throws RefusalError `tpm-certify-name`, `tpm-hash`
 */
export function demandCertifiedObject(
  { attested }: Pick<CertifyAttest, 'attested'>,
  area: PublicArea,
  checks: Checklist,
): Uint8Array {
  const name = computeName(area);
  checks.demand(certifyChecks, 'tpm-certify-name', equalBytes(attested.name, name), {
    field: 'attest.attested.name',
    expected: toHex(name),
    found: toHex(attested.name),
  });
  return name;
}

/** @param places qualified Names under which the object may stand @throws RefusalError `tpm-certify-place` */
export function demandPlace(
  { attested: { qualifiedName } }: CertifyAttest,
  places: readonly Uint8Array[],
  checks: Checklist,
): void {
  const isThere = places.some((place) => equalBytes(place, qualifiedName));
  checks.demand(certifyChecks, 'tpm-certify-place', isThere, {
    field: 'attest.attested.qualifiedName',
    expected: places.map(toHex).join(' or '),
    found: toHex(qualifiedName),
  });
}
