/**
 * Authenticity of a quote (docs/spec/evidence.md, section 5): that a TPM's restricted key made it, now, for us, over
 * exactly the PCRs that were asked for. Nothing here says whether the PCR values are good: that is appraise.ts.
 */

import { concatBytes, equalBytes, toHex } from '../core/bytes.ts';
import { decode, encode } from '../core/layout.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { SigningKey } from './attestation-key.ts';
import { attest, AttestType, pcrSelectionList, signature, TPM_GENERATED } from './layout.ts';
import type { QuoteAttest } from './layout.ts';
import { selectPcrs } from './pcr-selection.ts';
import type { PcrSelection } from './pcr-selection.ts';
import { isOfScheme, statementSignatureHolds } from './statement.ts';

export const quoteChecks = defineChecks('inauthentic', {
  'tpm-quote-magic': {
    means: 'The signed bytes do not start with the value that only a TPM writes there.',
    hint: 'The bytes were made outside the TPM; nothing but a TPM’s own quote is accepted.',
    protects: 'A restricted key signs any other data that a caller shapes like a quote.',
  },
  'tpm-quote-type': {
    means: 'The signed statement is not a quote.',
    hint: 'Send the result of TPM2_Quote.',
    protects: 'A statement of another kind could be passed off as a quote.',
  },
  'tpm-quote-signature-scheme': {
    means: 'The signature does not use the scheme of the attestation key.',
    hint: 'Quote with the key’s own scheme.',
    protects: 'A weaker scheme or hash of the attacker’s choice would be accepted.',
  },
  'tpm-quote-signature': {
    means: 'The signature does not hold over the received bytes.',
    hint: 'The quote was altered, or signed by another key.',
    protects: 'Anybody could write a quote.',
  },
  'tpm-quote-signer': {
    means: 'The quote does not name the attestation key in its place below the endorsement hierarchy.',
    hint: 'Make the key in the endorsement hierarchy, or below the endorsement key, and enrol it again.',
    protects: 'Which key or hierarchy signed could be hidden.',
  },
  'tpm-quote-binding': {
    means: 'The quote was made for another challenge, key, model, policy, lab or server.',
    hint: 'Collect fresh evidence for this challenge; evidence is never used twice.',
    protects: 'Old quotes could be replayed, and a key sent to somebody else.',
  },
  'tpm-quote-selection': {
    means: 'The quote does not cover exactly the PCRs that were asked for.',
    hint: 'Quote the bank and PCRs of the challenge; check that the TPM has the bank allocated.',
    protects: 'An empty bank or harmless PCRs could stand in for the measured ones.',
  },
  'tpm-quote-values': {
    means: 'The PCR values sent along are not those of the selection.',
    hint: 'Send the value of each selected PCR and no other.',
    protects: 'Values would be judged that nobody quoted.',
  },
  'tpm-quote-digest': {
    means: 'The PCR values sent along are not those that the TPM signed.',
    hint: 'Read the PCRs and quote them again; they may have been extended in between.',
    protects: 'Invented PCR values would be judged.',
  },
});

/** What a quote claims, as received. */
export interface PresentedQuote {
  /** TPMS_ATTEST, exactly the bytes that were signed. */
  readonly attest: Uint8Array;
  /** TPMT_SIGNATURE. */
  readonly signature: Uint8Array;
  /** Name of the bank that the values are of. */
  readonly bank: string;
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
}

/** Who may have signed. */
export interface SignerExpectations {
  readonly key: SigningKey;
  /** Qualified Names under which the key may sign. */
  readonly qualifiedSigners: readonly Uint8Array[];
}

/** What the verifier knows from elsewhere. */
export interface QuoteExpectations extends SignerExpectations {
  readonly extraData: Uint8Array;
  readonly selection: PcrSelection;
}

/**
 * Authenticates a quote and returns what the TPM said.
 *
 * @throws RefusalError `tpm-quote-*`, `layout-*`, `signature-*`
 */
export async function authenticateQuote(
  presented: PresentedQuote,
  expected: QuoteExpectations,
  checks: Checklist,
): Promise<QuoteAttest> {
  const statement = await authenticateStatement(presented, expected, checks);
  demandBinding(statement, expected.extraData, checks);
  demandPcrs(statement, presented, expected, checks);
  return statement;
}

/**
 * Authenticates who made a quote. When and for whom it was made, and over which PCRs, is left to {@link demandBinding}
 * and {@link demandPcrs}: without them an old quote, or one over nothing, would do.
 *
 * @throws RefusalError `tpm-quote-*`, `layout-*`, `signature-*`
 */
export async function authenticateStatement(
  presented: PresentedQuote,
  expected: SignerExpectations,
  checks: Checklist,
): Promise<QuoteAttest> {
  const statement = decode(attest, presented.attest, 'attest');
  checks.demand(quoteChecks, 'tpm-quote-magic', statement.magic === TPM_GENERATED, {
    field: 'attest.magic',
    expected: `0x${TPM_GENERATED.toString(16)}`,
    found: `0x${statement.magic.toString(16)}`,
  });
  checks.demand(quoteChecks, 'tpm-quote-type', statement.type === AttestType.quote, {
    field: 'attest.type',
    expected: `0x${AttestType.quote.toString(16)}`,
    found: `0x${statement.type.toString(16)}`,
  });
  await demandSignature(presented, expected.key, checks);
  demandSigner(statement, expected.qualifiedSigners, checks);
  return statement;
}

/** @throws RefusalError `tpm-quote-binding` */
export function demandBinding({ extraData }: QuoteAttest, expected: Uint8Array, checks: Checklist): void {
  checks.demand(quoteChecks, 'tpm-quote-binding', equalBytes(extraData, expected), {
    field: 'attest.extraData',
    expected: toHex(expected),
    found: toHex(extraData),
  });
}

async function demandSignature(presented: PresentedQuote, key: SigningKey, checks: Checklist): Promise<void> {
  const received = decode(signature, presented.signature, 'signature');
  checks.demand(quoteChecks, 'tpm-quote-signature-scheme', isOfScheme(received, key), {
    field: 'signature.algorithm',
    expected: `${key.scheme.algorithm} with ${key.hash.name}`,
    found: `0x${received.algorithm.toString(16)} with hash 0x${received.hash.toString(16)}`,
  });
  const holds = await statementSignatureHolds(received, key, presented.attest);
  checks.demand(quoteChecks, 'tpm-quote-signature', holds, {
    field: 'signature',
    expected: 'a signature of the attestation key over the attest bytes',
    found: holds ? 'one' : 'one that does not verify',
  });
}

function demandSigner(quote: QuoteAttest, qualifiedSigners: readonly Uint8Array[], checks: Checklist): void {
  const { qualifiedSigner } = quote;
  const isKnown =
    qualifiedSigner.length > 0 && qualifiedSigners.some((name) => equalBytes(name, qualifiedSigner));
  checks.demand(quoteChecks, 'tpm-quote-signer', isKnown, {
    field: 'attest.qualifiedSigner',
    expected: qualifiedSigners.map(toHex).join(' or '),
    found: toHex(qualifiedSigner),
  });
}

/** @throws RefusalError `tpm-quote-selection`, `tpm-quote-values`, `tpm-quote-digest` */
export function demandPcrs(
  quote: QuoteAttest,
  { bank, pcrs }: PresentedQuote,
  { key, selection }: Pick<QuoteExpectations, 'key' | 'selection'>,
  checks: Checklist,
): void {
  const wanted = encode(pcrSelectionList, selectPcrs(selection), 'selection');
  const quoted = encode(pcrSelectionList, quote.attested.pcrSelect, 'attest.attested.pcrSelect');
  checks.demand(quoteChecks, 'tpm-quote-selection', equalBytes(quoted, wanted), {
    field: 'attest.attested.pcrSelect',
    expected: toHex(wanted),
    found: toHex(quoted),
  });
  const values = selection.pcrs.map((pcr) => pcrs.get(pcr));
  const isComplete =
    bank === selection.bank.bank &&
    pcrs.size === values.length &&
    values.every((value) => value?.length === selection.bank.bytes);
  checks.demand(quoteChecks, 'tpm-quote-values', isComplete, {
    field: 'pcrs',
    expected: `${selection.bank.bank} values of PCR ${selection.pcrs.join(', ')}`,
    found: `${bank} values of PCR ${[...pcrs.keys()].join(', ')}`,
  });
  // The hash is that of the signing scheme, not of the bank (Part 1, section 36.4.2).
  const digest = key.hash.digest(concatBytes(...values.flatMap((value) => value ?? [])));
  checks.demand(quoteChecks, 'tpm-quote-digest', equalBytes(digest, quote.attested.pcrDigest), {
    field: 'attest.attested.pcrDigest',
    expected: toHex(digest),
    found: toHex(quote.attested.pcrDigest),
  });
}
