/**
 * Authenticity of a ratchet (docs/spec/lease-clock.md, LC-25): that the attestation key's own TPM certified, for this
 * challenge, the value of exactly the index that ratchets stand in.
 */

import { equalBytes, toHex } from '../../core/bytes.ts';
import { decode } from '../../core/layout.ts';
import { defineChecks } from '../../core/verdict.ts';
import type { Checklist } from '../../core/verdict.ts';
import { attest, AttestType, signature, TPM_GENERATED } from '../layout.ts';
import type { NvAttest } from '../layout.ts';
import type { SignerExpectations } from '../quote.ts';
import { isOfScheme, statementSignatureHolds } from '../statement.ts';
import type { PresentedRatchet } from './evidence.ts';
import { extendRatchet, RATCHET_BYTES, RATCHET_NAME } from './ratchet-index.ts';

export const ratchetChecks = defineChecks('inauthentic', {
  'tpm-ratchet-statement': {
    means: 'The statement about the ratchet is not one that only a TPM makes about an NV index.',
    hint: 'Send the result of TPM2_NV_Certify for the index of the ratchet.',
    protects: 'A quote, or bytes that were made outside the TPM, could pass for the value of the ratchet.',
  },
  'tpm-ratchet-signature': {
    means: 'The statement about the ratchet is not signed by the attestation key with its own scheme.',
    hint: 'Certify the ratchet with the attestation key that is enrolled.',
    protects: 'Anybody could write a value, or show the ratchet of another TPM.',
  },
  'tpm-ratchet-binding': {
    means: 'The statement about the ratchet was made for another challenge.',
    hint: 'Collect fresh evidence for this challenge; evidence is never used twice.',
    protects: 'A value that the ratchet had once could be shown again and again.',
  },
  'tpm-ratchet-index': {
    means: 'The certified index is not a ratchet: its Name, offset or length is another.',
    hint: 'Let the agent define the index; where another program uses its number, that program has to give way.',
    protects:
      'An index that can be written, or only a part of one, could pass for one that can only be extended.',
  },
  'tpm-ratchet-step': {
    means: 'The step that was sent along does not lead to the certified value.',
    hint: 'Send the value before the last extension and what it was extended by, as the agent keeps them.',
    protects: 'An invented past could be shown for any value.',
  },
});

/**
 * Authenticates a ratchet and returns its value, 32 bytes.
 *
 * @throws RefusalError `tpm-ratchet-*`, `layout-*`, `signature-*`
 */
export async function authenticateRatchet(
  presented: PresentedRatchet,
  expected: SignerExpectations & { readonly extraData: Uint8Array },
  checks: Checklist,
): Promise<Uint8Array> {
  const statement = decode(attest, presented.attest, 'ratchet.attest');
  const isOfIndex = statement.magic === TPM_GENERATED && statement.type === AttestType.nv;
  checks.demand(ratchetChecks, 'tpm-ratchet-statement', isOfIndex, {
    field: 'ratchet.attest',
    expected: `magic 0x${TPM_GENERATED.toString(16)} and type 0x${AttestType.nv.toString(16)}`,
    found: `magic 0x${statement.magic.toString(16)} and type 0x${statement.type.toString(16)}`,
  });
  await demandSignature(presented, statement, expected, checks);
  checks.demand(ratchetChecks, 'tpm-ratchet-binding', equalBytes(statement.extraData, expected.extraData), {
    field: 'ratchet.attest.extraData',
    expected: toHex(expected.extraData),
    found: toHex(statement.extraData),
  });
  const value = demandIndex(statement, checks);
  const led = extendRatchet(presented.previous, presented.step);
  checks.demand(ratchetChecks, 'tpm-ratchet-step', equalBytes(led, value), {
    field: 'ratchet.step',
    expected: toHex(value),
    found: toHex(led),
  });
  return value;
}

async function demandSignature(
  presented: PresentedRatchet,
  { qualifiedSigner }: NvAttest,
  { key, qualifiedSigners }: SignerExpectations,
  checks: Checklist,
): Promise<void> {
  const received = decode(signature, presented.signature, 'ratchet.signature');
  const isKnown = qualifiedSigners.some((name) => equalBytes(name, qualifiedSigner));
  const isOwn = isKnown && isOfScheme(received, key);
  const holds = isOwn && (await statementSignatureHolds(received, key, presented.attest));
  checks.demand(ratchetChecks, 'tpm-ratchet-signature', holds, {
    field: 'ratchet.signature',
    expected: `${key.scheme.algorithm} with ${key.hash.name} by ${qualifiedSigners.map(toHex).join(' or ')}`,
    found: `0x${received.algorithm.toString(16)} with hash 0x${received.hash.toString(16)} by ${toHex(qualifiedSigner)}`,
  });
}

function demandIndex({ attested }: NvAttest, checks: Checklist): Uint8Array {
  const { indexName, offset, nvContents } = attested;
  const isRatchet =
    equalBytes(indexName, RATCHET_NAME) && offset === 0 && nvContents.length === RATCHET_BYTES;
  checks.demand(ratchetChecks, 'tpm-ratchet-index', isRatchet, {
    field: 'ratchet.attest.attested',
    expected: `bytes 0 to ${RATCHET_BYTES} of ${toHex(RATCHET_NAME)}`,
    found: `bytes ${offset} to ${offset + nvContents.length} of ${toHex(indexName)}`,
  });
  return nvContents;
}
